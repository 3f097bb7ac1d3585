"""How long somebody must wait before trying to log in again, after failures: doubling, and never for good."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_KEPT = 4096  # names and addresses; those that failed longest ago are forgotten first
_FORGOTTEN_S = 3600.0


@dataclass(frozen=True)
class Limit:
    """So many failures are free; each further one doubles the wait from a second on, up to `most_s`."""

    free: int
    most_s: float

    def wait_s(self, failures: int) -> float:
        """After so many failures."""
        over = failures - self.free
        return 0.0 if over <= 0 else float(min(2.0 ** min(over - 1, 30), self.most_s))


# A stranger can slow a name down for everybody by half a minute at most; its own address for a quarter of an hour.
BOTH, NAME, ADDRESS, ALL = Limit(5, 900.0), Limit(20, 30.0), Limit(20, 900.0), Limit(200, 10.0)


class Attempts:
    """Failures of an hour, by name and address together, by each alone, and in all. In memory: a restart forgets them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, name: str, address: str) -> float:
        """Seconds until this name may be tried from this address; 0 for now."""
        now = self._clock()
        with self._lock:
            waits = [0.0]
            for key, limit in _keys(name, address):
                failures, at = self._failed.get(key, (0, now))
                if now - at < _FORGOTTEN_S:
                    waits.append(at + limit.wait_s(failures) - now)
            return max(waits)

    def failed(self, name: str, address: str) -> None:
        """One more failure."""
        now = self._clock()
        with self._lock:
            for key, _ in _keys(name, address):
                failures, at = self._failed.pop(key, (0, now))
                self._failed[key] = (failures + 1 if now - at < _FORGOTTEN_S else 1, now)
            while len(self._failed) > _KEPT:
                self._failed.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget this name's failures from this address."""
        with self._lock:
            self._failed.pop(_keys(name, address)[0][0], None)


def _keys(name: str, address: str) -> tuple[tuple[str, Limit], ...]:
    """Hashed, so that no name (people type passwords there) and no length of one stays in memory."""
    pairs = (
        ("both", f"{name}\0{address}", BOTH),
        ("name", name, NAME),
        ("address", address, ADDRESS),
        ("all", "", ALL),
    )
    return tuple(
        (hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "replace")).hexdigest(), limit)
        for kind, text, limit in pairs
    )
