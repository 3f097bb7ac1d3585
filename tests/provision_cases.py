"""Hospitals that are invited, ask to be enrolled, and rotate their keys, for tests of provisioning."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from privacy import keys
from privacy.enrolment import node_key
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.kit import Kit
from privacy.enrolment.request import Request
from privacy.handover import Handover
from privacy.keys import PrivateKey
from server.home import Home
from server.provision.invite import invite

NOW = datetime.now(UTC)


def invited(home: Home, name: str = "north", at: datetime = NOW, **changes: Any) -> Invitation:
    """The invitation, as the hospital reads it."""
    path, _ = invite(home, name, at, **{"evaluator": False, "days": 14, **changes})
    return Invitation.load(path)


@dataclass
class Hospital:
    """A hospital's keys, and the requests that it sends."""

    folder: Path
    invitation: Invitation | None
    name: str = "north"
    keys: list[PrivateKey] = field(default_factory=list)
    handovers: list[Handover] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.keys.append(keys.generate(self.folder / "release.key"))
        node_key.generate(self.node)

    @property
    def node(self) -> Path:
        return self.folder / "supernode.key"

    def rotate(self) -> None:
        new = keys.generate(self.folder / f"release-{len(self.keys)}.key")
        self.handovers.append(Handover.make(self.name, self.keys[-1], new.public))
        self.keys.append(new)

    def file(self, **changes: Any) -> bytes:
        """The request's bytes; `changes` are made before it is signed."""
        assert self.invitation is not None
        made = {
            "coordinator": self.invitation.coordinator,
            "hospital": self.name,
            "release": self.keys[-1],
            "node": node_key.load(self.node),
            "handovers": self.handovers,
            "ticket": self.invitation.ticket,
        }
        return Request.make(**{**made, **changes})

    def request(self, **changes: Any) -> Request:
        return Request.from_bytes(self.file(**changes))


def kit_of(home: Home, name: str = "north") -> Kit:
    return Kit.load(home.folder / "kits" / f"{name}.json", home.coordinator().public)
