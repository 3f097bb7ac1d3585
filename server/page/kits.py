"""What the hospitals' kits say: how long each is good, and which limits it proposes. A kit is read again when it changed."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from privacy.enrolment.expiry import Expiry
from privacy.enrolment.kit import Kit
from privacy.errors import EnrolmentFileError, PolicyError
from privacy.keys import PublicKey
from privacy.policy import Policy
from server.home import Home
from server.page.views.spending import Limits

Seen = tuple[PublicKey, int]  # under which key a file was read, and its time in ns


@dataclass(frozen=True)
class Proposed:
    """A kit's end, and its limits; None where its policy can't be read."""

    expires: datetime
    limits: Limits | None

    def expiry(self, hospital: str, now: datetime) -> Expiry:
        """How long it is good."""
        return Expiry.of(f"kit of {hospital}", self.expires, now)


@dataclass
class Kits:
    """The kits in a home."""

    home: Home
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: dict[str, tuple[Seen, Proposed | None]] = field(default_factory=dict)

    def of(self, hospitals: Iterable[str]) -> dict[str, Proposed | None]:
        """By hospital; None where there is no kit of this coordinator's. Raises `HomeError` where its key can't be read."""
        key = self.home.coordinator().public
        return {name: self._of(name, key) for name in hospitals}

    def _of(self, hospital: str, key: PublicKey) -> Proposed | None:
        file = self.home.folder / "kits" / f"{hospital}.json"
        try:
            now = key, file.stat().st_mtime_ns
        except OSError:
            return None
        with self._lock:
            if hospital not in self._seen or self._seen[hospital][0] != now:
                self._seen[hospital] = now, _read(file, key)
            return self._seen[hospital][1]


def _read(file: Path, key: PublicKey) -> Proposed | None:
    try:
        kit = Kit.load(file, key)
    except EnrolmentFileError:
        return None
    try:
        policy = Policy.from_dict(tomllib.loads(kit.policy))
    except (PolicyError, ValueError):
        return Proposed(kit.expires, None)
    return Proposed(kit.expires, Limits(policy.epsilon_budget, policy.delta))
