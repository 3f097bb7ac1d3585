"""What a browser or a stranger may do with any page: judged at the door, whatever stands behind it."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from pages.door import MOST_BYTES, Door
from pages.serving import static


async def _echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def _page(request: Request) -> HTMLResponse:
    return HTMLResponse("<p>here")


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route("/", _page), Route("/echo", _echo, methods=["POST"]), static()])
    return TestClient(Door(app, hosts=["127.0.0.1", "[::1]"]), base_url="http://127.0.0.1:8000")


def test_every_answer_forbids_what_a_page_does_not_need(client: TestClient) -> None:
    """Catches an inline script, a frame or a foreign picture that would run; and an error page without the headers."""
    for path in ("/", "/nothing", "/static/style.css"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil", "[::2]", "127.0.0.2:8000"]
)
def test_another_name_is_turned_away(client: TestClient, host: str) -> None:
    """Catches DNS rebinding: a site that points its own name at a page on loopback, and reads it."""
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "[::1]:8000"])
def test_its_own_names_are_answered_on_any_port(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


def test_a_large_body_is_refused_whether_its_length_is_said_or_not(client: TestClient) -> None:
    """Catches memory that grows with what a stranger sends."""
    assert client.post("/echo", content=b"x" * MOST_BYTES).text == str(MOST_BYTES)
    assert client.post("/echo", content=b"x" * (MOST_BYTES + 1)).status_code == 413
    assert client.post("/echo", content=iter([b"x" * MOST_BYTES, b"x"])).status_code == 413
    assert client.post("/echo", content=b"x", headers={"content-length": "-1"}).status_code == 413


@pytest.mark.parametrize(
    "path", ["/static/../door.py", "/static/%2e%2e/door.py", "/static//etc/passwd", "/static/"]
)
def test_only_the_static_folder_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
