"""The wall before every page: who is it, may this role do that, and did this very page send the form?"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pages.forms import comes_from_here, local
from server.page.access.access import Access
from server.page.access.roles import Role
from server.page.access.visitor import Visitor

Endpoint = Callable[[Request, Visitor], Response]


def guarded(role: Role, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint behind the wall.

    | who and what                                    | answer                                            |
    |-------------------------------------------------|---------------------------------------------------|
    | nobody is logged in                             | 303 to /login; 401 for a script or a form         |
    | the role is too low                             | 403                                               |
    | a form from elsewhere, or without this session's token | 403                                        |
    | else                                            | the endpoint's                                    |
    """

    async def answer(request: Request) -> Response:
        access: Access = request.app.state.access
        by_itself = _is_stream(request) or _is_script(request)  # an open page asks so, with nobody before it
        visitor = access.visitor(request.cookies.get(access.cookie), use=not by_itself)
        if visitor is None:
            return _log_in(request)
        if not visitor.role.may(role):
            return PlainTextResponse(f"Your role is {visitor.role}; this takes the role {role}.\n", 403)
        if request.method not in ("GET", "HEAD"):
            form = await request.form(max_files=0, max_fields=20)
            if not comes_from_here(request) or not _same(form.get("csrf"), visitor.csrf):
                return PlainTextResponse("This form was not sent by this page: load the page again.\n", 403)
            request.state.form = form
        return await run_in_threadpool(endpoint, request, visitor)

    return answer


def still_allowed(request: Request) -> Callable[[], bool]:
    """Whether who asked is still logged in; asking does not put the end of an idle session off."""
    access: Access = request.app.state.access
    token = request.cookies.get(access.cookie)
    return lambda: access.visitor(token, use=False) is not None


def _log_in(request: Request) -> Response:
    if request.method not in ("GET", "HEAD") or _is_stream(request) or _is_script(request):
        return PlainTextResponse("Log in first.\n", 401)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?{urlencode({'next': local(here)})}", 303)


def _is_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _is_script(request: Request) -> bool:
    return request.headers.get("sec-fetch-dest") == "empty"


def _same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
