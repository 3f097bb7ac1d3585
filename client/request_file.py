"""request.json: what the hospital sends to the coordinator, signed with its present keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from client.errors import HomeError
from client.home import Home
from privacy import durable
from privacy.enrolment import node_key
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.request import Request
from privacy.errors import EnrolmentFileError
from privacy.handover import Handover
from privacy.keys import PrivateKey, PublicKey


def write_request(home: Home, release: PrivateKey, handovers: Sequence[Handover]) -> None:
    """Write it, for the coordinator that the hospital trusts; it answers the invitation, where one waits.

    Raises `HomeError` where nobody invited the hospital.
    """
    waiting = invitation_of(home)
    made = Request.make(
        trusted(home),
        home.settings.name,
        release,
        node_key.load(home.node_key),
        handovers,
        None if waiting is None else waiting.ticket,
    )
    durable.replace(home.request, made)


def handovers(home: Home) -> tuple[Handover, ...]:
    """How the release key came to be, as the last request has it; none where there is no request. Raises `HomeError`."""
    if not home.request.exists():
        return ()
    try:
        return Request.load(home.request).handovers
    except EnrolmentFileError as error:
        raise HomeError(
            f"{error}; where it is of an earlier FedPath, move it away and run this again"
        ) from error


def trusted(home: Home) -> PublicKey:
    """The coordinator's key, by now. Raises `HomeError` where there is none."""
    return home.coordinator if _is_pinned(home) else anchor(home)


def anchor(home: Home) -> PublicKey:
    """The pinned key of the coordinator, and before `join` the invitation's. Raises `HomeError` where there is none."""
    if _is_pinned(home):
        return home.pinned
    waiting = invitation_of(home)
    if waiting is None:
        raise HomeError(
            f"{home.folder}: nobody invited this hospital: answer an invitation with `fedpath-hospital request`"
        )
    return waiting.coordinator


def _is_pinned(home: Home) -> bool:
    return (home.trust / "coordinator.pub").exists()


def is_invited(home: Home) -> bool:
    """Whether the hospital trusts a coordinator: it has joined, or an invitation waits."""
    return _is_pinned(home) or invitation_file(home).exists()


def invitation_of(home: Home) -> Invitation | None:
    """The invitation that waits for a kit; None where none does."""
    path = invitation_file(home)
    return Invitation.load(path) if path.exists() else None


def invitation_file(home: Home) -> Path:
    """Where that lies: its secret signs the request anew when a key is rotated meanwhile."""
    return home.trust / "invitation.json"
