"""/login, /logout and /account: a session begins, ends, and a user changes the own password."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from jinja2 import Environment
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pages.forms import comes_from_here, local
from pages.templates import templates
from privacy.events import Name, tell
from server.errors import ServerError
from server.page.access.access import Access
from server.page.access.guard import guarded
from server.page.access.oidc import OidcRefused
from server.page.access.roles import Role
from server.page.access.users import LEAST_LETTERS
from server.page.access.visitor import Visitor
from server.page.events import LoggedIn, LoggedOut, LogInRefused

_WRONG = "Name or password is wrong."


def access_routes() -> list[Route]:
    """The routes that need nobody logged in, or anybody."""
    return [
        Route("/login", _login, methods=["GET"]),
        Route("/login", _try, methods=["POST"]),
        Route("/oidc/start", _to_provider, methods=["GET"]),
        Route("/oidc/callback", _from_provider, methods=["GET"]),
        Route("/logout", guarded(Role.READ_ONLY, _logout), methods=["POST"]),
        Route("/account", guarded(Role.READ_ONLY, _account), methods=["GET"]),
        Route("/account/password", guarded(Role.READ_ONLY, _password), methods=["POST"]),
    ]


async def _login(request: Request) -> Response:
    return _draw(request, "login.html", next=local(request.query_params.get("next", "/")), name="", wrong="")


async def _try(request: Request) -> Response:
    access = _access(request)
    if not comes_from_here(request):
        return PlainTextResponse("This form was not sent by this page.\n", 403)
    form = await request.form(max_files=0, max_fields=20)
    name, password, then = (str(form.get(field, "")) for field in ("name", "password", "next"))
    address = "" if request.client is None else request.client.host
    wait = math.ceil(access.attempts.wait_s(name, address))
    if wait > 0:
        tell(LogInRefused())
        words = f"Too many failures: try again in {wait} s."
        answer = _draw(request, "login.html", 429, next=local(then), name=name, wrong=words)
        answer.headers["Retry-After"] = str(wait)
        return answer
    user = await run_in_threadpool(access.users.verified, name, password)
    if user is None:
        access.attempts.failed(name, address)
        tell(LogInRefused())
        return _draw(request, "login.html", 401, next=local(then), name=name, wrong=_WRONG)
    access.attempts.succeeded(name, address)
    return _begun(request, access.sessions.begin(name, user.stamp), local(then))


async def _to_provider(request: Request) -> Response:
    access = _access(request)
    if access.provider is None:
        raise HTTPException(404)
    then = local(request.query_params.get("next", "/"))
    try:
        ticket, address = await run_in_threadpool(access.provider.begin, then)
    except OidcRefused as error:
        return _draw(request, "login.html", 502, next=then, name="", wrong=f"{error}.")
    answer = RedirectResponse(address, 303)
    _set(answer, access, f"{access.cookie}-oidc", ticket)
    return answer


async def _from_provider(request: Request) -> Response:
    access = _access(request)
    if access.provider is None:
        raise HTTPException(404)
    ticket = request.cookies.get(f"{access.cookie}-oidc")
    try:
        known = await run_in_threadpool(access.provider.finish, ticket, request.query_params)
    except OidcRefused as error:
        tell(LogInRefused())
        return _draw(request, "login.html", 401, next="/", name="", wrong=f"{error}.")
    answer = _begun(request, access.sessions.begin(known.name, role=known.role), known.then)
    answer.delete_cookie(
        f"{access.cookie}-oidc", secure=access.secure, httponly=True, samesite="lax", path="/"
    )
    return answer


def _begun(request: Request, token: str, then: str) -> Response:
    """A fresh session, and on to `then`; the one that the browser had before is over."""
    access = _access(request)
    before, visitor = request.cookies.get(access.cookie), access.visitor(token)
    if before is not None:
        access.sessions.end(before)
    if visitor is not None:
        tell(LoggedIn(Name(visitor.name), visitor.role))
    answer = RedirectResponse(then, 303)
    _set(answer, access, access.cookie, token)
    return answer


def _set(answer: Response, access: Access, name: str, value: str) -> None:
    answer.set_cookie(name, value, secure=access.secure, httponly=True, samesite="lax", path="/")


def _logout(request: Request, visitor: Visitor) -> Response:
    access = _access(request)
    access.sessions.end(request.cookies[access.cookie])
    tell(LoggedOut(Name(visitor.name)))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(access.cookie, secure=access.secure, httponly=True, samesite="lax", path="/")
    return answer


def _account(request: Request, visitor: Visitor) -> Response:
    return _draw(request, "account.html", visitor=visitor, wrong="", least=LEAST_LETTERS)


def _password(request: Request, visitor: Visitor) -> Response:
    access, form = _access(request), request.state.form
    given = {key: str(form.get(key, "")) for key in ("old", "new", "again")}
    address = "" if request.client is None else request.client.host
    if access.attempts.wait_s(visitor.name, address) > 0:
        return _draw(
            request, "account.html", 429, visitor=visitor, wrong="Try again later.", least=LEAST_LETTERS
        )
    if access.users.verified(visitor.name, given["old"]) is None:
        access.attempts.failed(visitor.name, address)
        words = "The present password is wrong."
        return _draw(request, "account.html", 403, visitor=visitor, wrong=words, least=LEAST_LETTERS)
    try:
        if given["new"] != given["again"]:
            return _draw(
                request,
                "account.html",
                400,
                visitor=visitor,
                wrong="The two new ones differ.",
                least=LEAST_LETTERS,
            )
        access.users.set_password(visitor.name, given["new"])
    except ServerError as error:
        return _draw(request, "account.html", 400, visitor=visitor, wrong=str(error), least=LEAST_LETTERS)
    return RedirectResponse("/login", 303)


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


@cache
def _templates() -> Environment:
    return templates("server.page.access")


def _draw(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    known = {"place": request.app.state.house.home.name, "provider": _access(request).provider is not None}
    found = _templates().get_template(template)
    return HTMLResponse(found.render(navigation=[], current=request.url.path, **known, **values), status)
