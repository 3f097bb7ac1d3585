"""The hospital's page as an application: the door, the entry, and the table of addresses."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from client.errors import ClientError
from client.home import Home
from client.page.entry import Entry, enter, guarded
from client.page.house import House
from client.page.routes import ADDRESSES
from pages.door import Door
from pages.serving import static
from privacy.errors import PrivacyError


def page(home: Home, hosts: Collection[str], entry: Entry, *, secure: bool = False) -> Door:
    """The page of this home, answering to these host names; `secure` where it is reached over TLS."""
    app = Starlette(
        routes=[
            Route("/enter", enter, methods=["GET"]),
            *(Route(a.path, guarded(a.endpoint), methods=[a.method]) for a in ADDRESSES),
            static(),
        ],
        exception_handlers={HTTPException: _plain, ClientError: _failed, PrivacyError: _failed},
    )
    app.state.house, app.state.entry, app.state.secure = House(home), entry, secure
    return Door(app, hosts, secure)


async def _plain(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {
        404: "There is no such page.",
        405: "That can't be asked of this page.",
        413: "The request is too large.",
    }
    return PlainTextResponse(words.get(status, "The request can't be answered.") + "\n", status)


async def _failed(request: Request, error: Exception) -> Response:
    """What our own errors say is for hospital IT's eyes, and it is they who look."""
    return PlainTextResponse(f"{error}\n", 503)
