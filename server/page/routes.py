"""Every address of the page, how it is asked, and who may: the one table from which the page is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from server.page import endpoints
from server.page.access.roles import Role
from server.page.access.visitor import Visitor
from server.page.events import Action

Endpoint = Callable[[Request, Visitor], Response]


@dataclass(frozen=True)
class Address:
    """A path, its one method, the least role, and what answers."""

    path: str
    method: str
    role: Role
    endpoint: Endpoint


ADDRESSES = (
    Address("/", "GET", Role.READ_ONLY, endpoints.overview),
    Address("/campaigns/{name}", "GET", Role.READ_ONLY, endpoints.campaign),
    Address("/campaigns/{name}/rounds/{number}", "GET", Role.READ_ONLY, endpoints.round_of),
    Address("/campaigns/{name}/experts", "GET", Role.READ_ONLY, endpoints.experts),
    Address("/hospitals", "GET", Role.READ_ONLY, endpoints.hospitals),
    Address("/privacy", "GET", Role.AUDITOR, endpoints.privacy),
    Address("/journal", "GET", Role.AUDITOR, endpoints.journal),
    Address("/journal/export", "GET", Role.AUDITOR, endpoints.export),
    Address("/events", "GET", Role.READ_ONLY, endpoints.events),
    *(
        Address(f"/campaigns/{{name}}/{action}", "GET", Role.COORDINATOR, endpoints.confirm)
        for action in Action
    ),
    *(Address(f"/campaigns/{{name}}/{action}", "POST", Role.COORDINATOR, endpoints.act) for action in Action),
    Address("/start/{file}", "POST", Role.COORDINATOR, endpoints.start),
)
