"""What the pages' endpoints have in common: the house behind the request, checked parts of an address, a drawn page."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from server.page import reading
from server.page.access.visitor import Visitor
from server.page.house import House
from server.store import Store

_LONGEST_NUMBER = 9


def house_of(request: Request) -> House:
    """The consortium that this page is of."""
    house: House = request.app.state.house
    return house


def drawn(request: Request, visitor: Visitor, template: str, status: int = 200, **values: Any) -> Response:
    """The template as this visitor's page."""
    return HTMLResponse(house_of(request).draw(template, visitor, request.url.path, **values), status)


def campaign_at(store: Store, request: Request) -> dict[str, Any]:
    """The campaign that the address names, with how many of its rounds are `committed`; 404 where it was never begun."""
    name = request.path_params["name"]
    found = next((row for row in reading.campaigns(store) if row["name"] == name), None)
    if found is None:
        raise HTTPException(404)
    return found


def round_number(request: Request) -> int:
    """The round that the address names."""
    return _number(request.path_params["number"])


def page_number(request: Request) -> int:
    """Which page of a table is asked for, from 1."""
    return _number(request.query_params.get("page", "1"))


def page_count(rows: int) -> int:
    """How many pages so many rows make; one at least."""
    return max(1, -(-rows // reading.PER_PAGE))


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < len(text) <= _LONGEST_NUMBER or int(text) < 1:
        raise HTTPException(404)
    return int(text)
