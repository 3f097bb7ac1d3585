"""The whole enrolment of one hospital, where both sides are on one machine: as people do it with the commands."""

from __future__ import annotations

from datetime import UTC, datetime

from client.enrolment import answer, join
from client.home import Home as Hospital
from privacy.enrolment.invitation import Invitation
from privacy.enrolment.request import Request
from server.home import Home as Consortium
from server.provision.approve import approve
from server.provision.invite import invite


def enrol(consortium: Consortium, hospital: Hospital, *, evaluator: bool = False) -> None:
    """Invitation, request, kit."""
    now = datetime.now(UTC)
    path, _ = invite(consortium, hospital.settings.name, now, evaluator=evaluator, days=1)
    answer(hospital, Invitation.load(path), now)
    join(hospital, approve(consortium, Request.load(hospital.request), now).kit, datetime.now(UTC))
