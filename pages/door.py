"""What stands before every page: whose host name is answered, how large a request may be, what a browser may do with it.

Plain ASGI, so that a stream of events passes through it unbuffered.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 64 * 1024  # of a request's body: our forms are short
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Door:
    """Middleware before `app`.

    Guarantees: a request for a host that is not of `hosts` is refused (a page of another site whose name was pointed at
    us can't read us); a body over `MOST_BYTES` is refused, said to be long or not; every answer carries headers that
    allow nothing from elsewhere and no framing; and no copy in a cache, and no inline style, unless it says so itself.
    """

    app: ASGIApp
    hosts: Collection[str]
    secure: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, seen = Headers(scope=scope), 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MOST_BYTES:
                raise HTTPException(413)
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
                answer.setdefault("Content-Security-Policy", _POLICY)
                answer.setdefault("Cache-Control", "no-store")
                if self.secure:
                    answer["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        length = headers.get("content-length", "0")
        if _host(headers.get("host", "")) not in self.hosts:
            answer = PlainTextResponse("This address is not one of this page's.\n", 421)
            await answer(scope, receive, guarded)
        elif not length.isdecimal() or int(length) > MOST_BYTES:
            await PlainTextResponse("The request is too large.\n", 413)(scope, receive, guarded)
        else:
            await self.app(scope, limited, guarded)


def _host(header: str) -> str:
    """The name or address without its port; IPv6 addresses keep their brackets."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0].lower()
