"""Who may open the page: whoever can read a file of the home, and nobody else on the machine.

At its start the page writes its whole address, with a secret, to `page-address` in the home (0600). Who opens that gets a
session's cookie, and the secret goes out of the browser's address line. A restart makes a new secret.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pages.forms import comes_from_here

COOKIE = "fedpath-hospital"
LONGEST_S = 12 * 3600
_MOST = 64
_FIRST = "Open the address in the home's file page-address: it holds what lets you in.\n"


@dataclass(frozen=True)
class Session:
    """A browser that came in: `csrf` goes into every form."""

    csrf: str
    begun: float


Endpoint = Callable[[Request, Session], Response]


@dataclass(frozen=True)
class Entry:
    """The secret of one run of the page, and its sessions."""

    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    clock: Callable[[], float] = time.monotonic
    _sessions: dict[str, Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, given: str) -> str | None:
        """A new session's cookie for who knows the secret; None for anybody else."""
        if not _same(given, self.secret):
            return None
        token = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._sessions) >= _MOST:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[token] = Session(secrets.token_urlsafe(32), self.clock())
        return token

    def session(self, token: str | None) -> Session | None:
        """The session of this cookie; None where there is none, or it is over."""
        with self._lock:
            found = self._sessions.get(token or "")
            if found is not None and self.clock() - found.begun > LONGEST_S:
                del self._sessions[token or ""]
                found = None
            return found

    def leave(self, token: str | None) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(token or "", None)


async def enter(request: Request) -> Response:
    """Take the secret out of the address, and give a cookie for it."""
    entry: Entry = request.app.state.entry
    token = entry.enter(request.query_params.get("secret", ""))
    if token is None:
        return PlainTextResponse(_FIRST, 403)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE, token, httponly=True, samesite="strict", path="/", secure=request.app.state.secure
    )
    return answer


def guarded(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for who has a session; a form must come from this page, with the session's token."""

    async def answer(request: Request) -> Response:
        entry: Entry = request.app.state.entry
        session = entry.session(request.cookies.get(COOKIE))
        if session is None:
            return PlainTextResponse(_FIRST, 401)
        if request.method not in ("GET", "HEAD"):
            form = await request.form(max_files=0, max_fields=10)
            if not comes_from_here(request) or not _same(form.get("csrf"), session.csrf):
                return PlainTextResponse("This form was not sent by this page: load the page again.\n", 403)
        return await run_in_threadpool(endpoint, request, session)

    return answer


def still_allowed(request: Request) -> Callable[[], bool]:
    """Whether who asked still has a session."""
    entry: Entry = request.app.state.entry
    token = request.cookies.get(COOKIE)
    return lambda: entry.session(token) is not None


def _same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
