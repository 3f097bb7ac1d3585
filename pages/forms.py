"""What a browser says of where a form comes from, and where a visitor may be sent on to."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

_LONGEST = 512


def comes_from_here(request: Request) -> bool:
    """Whether a form comes from a page of ours, as the browser says; one that says nothing is believed."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def local(path: str) -> str:
    """A path of this page to go on to: whatever else was given becomes "/"."""
    plain = path.isascii() and path.isprintable() and "\\" not in path and len(path) <= _LONGEST
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"
