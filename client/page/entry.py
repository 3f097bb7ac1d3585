"""Who may open the page: whoever can read a file of the home, and nobody else on the machine.

The page keeps its whole address, with a secret, in `page/address` in the home (0600). Who opens that gets a session's
cookie, the secret goes out of the browser's address line, and another one takes its place in the file: what a browser
remembers or somebody has read over a shoulder opens nothing.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pages.forms import comes_from_here

COOKIE = "fedpath-hospital"
LONGEST_S = 12 * 3600
_MOST = 64
_FIRST = "Open the address in the home's file page/address: it lets in once, and is another one then.\n"


@dataclass(frozen=True)
class Session:
    """A browser that came in: `csrf` goes into every form."""

    csrf: str
    begun: float


Endpoint = Callable[[Request, Session], Response]


class Entry:
    """The secret that lets in next, and the sessions. `renewed` is told each secret before it can let anybody in."""

    def __init__(
        self,
        renewed: Callable[[str], None] = lambda secret: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renewed, self._clock = renewed, clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._secret = ""
        self._renew()

    @property
    def secret(self) -> str:
        """What lets in next."""
        return self._secret

    def enter(self, given: str) -> str | None:
        """A new session's cookie for who knows the secret, which is used up by that; None for anybody else."""
        with self._lock:
            if not _same(given, self._secret):
                return None
            self._renew()
            token = secrets.token_urlsafe(32)
            while len(self._sessions) >= _MOST:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[token] = Session(secrets.token_urlsafe(32), self._clock())
        return token

    def _renew(self) -> None:
        secret = secrets.token_urlsafe(32)
        self._renewed(secret)
        self._secret = secret

    def session(self, token: str | None) -> Session | None:
        """The session of this cookie; None where there is none, or it is over."""
        with self._lock:
            found = self._sessions.get(token or "")
            if found is not None and self._clock() - found.begun > LONGEST_S:
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
    token = await run_in_threadpool(entry.enter, request.query_params.get("secret", ""))
    if token is None:
        if entry.session(request.cookies.get(COOKIE)) is not None:
            return RedirectResponse("/", 303)  # a browser that asked twice
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
