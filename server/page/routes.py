"""Every address of the page, how it is asked, and who may: the one table from which the page is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from server.page import actions, campaign_pages, consortium_pages
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
    Address("/", "GET", Role.READ_ONLY, campaign_pages.overview),
    Address("/campaigns/{name}", "GET", Role.READ_ONLY, campaign_pages.campaign),
    Address("/campaigns/{name}/rounds/{number}", "GET", Role.READ_ONLY, campaign_pages.round_of),
    Address("/campaigns/{name}/rounds/{number}/{file}", "GET", Role.COORDINATOR, campaign_pages.download),
    Address("/campaigns/{name}/experts", "GET", Role.READ_ONLY, campaign_pages.experts_of),
    Address("/experts", "GET", Role.READ_ONLY, campaign_pages.experts),
    Address("/hospitals", "GET", Role.READ_ONLY, consortium_pages.hospitals),
    Address("/privacy", "GET", Role.AUDITOR, consortium_pages.privacy),
    Address("/journal", "GET", Role.AUDITOR, consortium_pages.journal),
    Address("/journal/export", "GET", Role.AUDITOR, consortium_pages.export),
    Address("/events", "GET", Role.READ_ONLY, consortium_pages.events),
    *(
        Address(f"/campaigns/{{name}}/{action}", "GET", Role.COORDINATOR, actions.confirm)
        for action in Action
    ),
    *(Address(f"/campaigns/{{name}}/{action}", "POST", Role.COORDINATOR, actions.act) for action in Action),
    Address("/start/{file}", "GET", Role.COORDINATOR, actions.confirm_start),
    Address("/start/{file}", "POST", Role.COORDINATOR, actions.start),
)
