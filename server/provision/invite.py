"""Inviting a hospital: the file that is handed to it, and the consortium's note that it may answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from privacy import durable
from privacy.enrolment.invitation import Invitation
from privacy.ledger.entries import written
from privacy.policy import is_hospital
from server.errors import EnrolmentError
from server.home import Home
from server.records import Invited


def invite(home: Home, name: str, now: datetime, *, evaluator: bool, days: int) -> tuple[Path, Invitation]:
    """Write an invitation that is open for so many days. An earlier one of the same hospital is void from then on.

    Raises `EnrolmentError` where the name is none, or enrolled.
    """
    if not is_hospital(name):
        raise EnrolmentError(
            f'{name!r} names no hospital: use lower-case letters, digits and "-", at most 64, a letter or digit first'
        )
    made = Invitation.make(
        home.name, name, home.superlink, home.coordinator().public, now + timedelta(days=days)
    )
    path = invitation_file(home, name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    home.store(lambda: now).invite(made.ticket.public, Invited(name, evaluator, written(made.expires)))
    durable.replace(path, made.to_bytes())
    return path, made


def invitation_file(home: Home, name: str) -> Path:
    """Where a hospital's invitation lies until it is answered."""
    return home.folder / "invitations" / f"{name}.json"
