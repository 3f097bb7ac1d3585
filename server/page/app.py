"""The page as an application: the door, the wall, and the table of addresses."""

from __future__ import annotations

import logging
from collections.abc import Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pages.door import Door
from pages.serving import static
from server.errors import ServerError
from server.home import Home
from server.page.access.access import Access, access_of
from server.page.access.door import access_routes
from server.page.access.guard import guarded
from server.page.house import House
from server.page.routes import ADDRESSES

_LOG = logging.getLogger("fedpath.page")


def page(home: Home, hosts: Collection[str], *, secure: bool, access: Access | None = None) -> Door:
    """The consortium's page, answering to these host names; `secure` where it is reached over TLS.

    Its store is open then, and the journal verified. Raises `ServerError`.
    """
    house = House(home)
    house.store()
    app = Starlette(
        routes=[
            *access_routes(),
            *(Route(a.path, guarded(a.role, a.endpoint), methods=[a.method]) for a in ADDRESSES),
            Route("/live", _live),
            static(),
        ],
        exception_handlers={HTTPException: _plain, ServerError: _failed},
    )
    app.state.house = house
    app.state.access = access or access_of(home, secure=secure)
    return Door(app, hosts, secure)


async def _live(request: Request) -> Response:
    return PlainTextResponse("alive\n")


async def _plain(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {
        404: "There is no such page.",
        405: "That can't be asked of this page.",
        413: "The request is too large.",
    }
    return PlainTextResponse(words.get(status, "The request can't be answered.") + "\n", status)


async def _failed(request: Request, error: Exception) -> Response:
    _LOG.warning("%s", error)
    return PlainTextResponse("The store can't be read now: `fedpath-consortium status` says why.\n", 503)
