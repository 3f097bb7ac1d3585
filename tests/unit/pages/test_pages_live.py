"""A page that keeps itself true, in a real browser: what changed is shown, what one does meanwhile stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import uvicorn
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from pages.door import Door
from pages.live import changes
from pages.serving import LOOPBACK, listen, static
from pages.templates import templates

_PAGE = """{% extends "layout.html" %}{% block title %}Counter{% endblock %}{% block main %}
<section id="count" data-live><h1>count {{ count }}</h1>
<details id="more"><summary id="sum">more</summary>inside</details></section>
<section id="form" data-live><form><label for="name">name {{ count }}</label><input id="name" name="name"></form></section>
{% endblock %}"""


@dataclass
class _Site:
    count: int = 0
    allowed: bool = True
    asked: int = 0
    url: str = ""
    server: uvicorn.Server | None = field(default=None)

    def page(self, request: Request) -> HTMLResponse:
        self.asked += 1
        if not self.allowed:
            return HTMLResponse("<title>out</title><h1>logged out</h1>", 401)
        values = {"place": "test", "navigation": [], "current": "/", "events": "/events", "count": self.count}
        return HTMLResponse(templates("pages").from_string(_PAGE).render(values))


@pytest.fixture
def site() -> Iterator[_Site]:
    made = _Site()
    routes = [
        Route("/", made.page),
        Route("/events", lambda request: changes(lambda: made.count, lambda: made.allowed)),
        static(),
    ]
    sock = listen("127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    config = uvicorn.Config(
        Door(Starlette(routes=routes), LOOPBACK), log_level="error", timeout_graceful_shutdown=1
    )
    made.server = uvicorn.Server(config)
    thread = threading.Thread(target=made.server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield made
    made.server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def test_a_change_shows_by_itself_and_what_one_does_stays(site: _Site, browser_page: Page) -> None:
    """Catches a page that must be reloaded, that closes what one opened, loses the focus or wipes out what one types."""
    browser_page.goto(site.url)
    browser_page.locator("#sum").focus()
    browser_page.keyboard.press("Enter")
    site.count = 1
    expect(browser_page.get_by_role("heading", name="count 1")).to_be_visible()
    expect(browser_page.get_by_text("inside")).to_be_visible()
    assert browser_page.evaluate("document.activeElement.id") == "sum"
    browser_page.get_by_label("name").fill("typed")
    site.count = 2
    expect(browser_page.get_by_role("heading", name="count 2")).to_be_visible()
    expect(browser_page.locator("#name")).to_have_value("typed")


def test_what_changed_while_the_stream_began_is_told() -> None:
    """Catches a page that was drawn before a change, on a stream that began after it: it would stand still until the next."""

    async def first() -> bytes:
        async for part in changes(lambda: 0).body_iterator:
            assert isinstance(part, bytes)
            return part
        return b""

    with ThreadPoolExecutor(1) as aside:  # Playwright may have a loop in this thread
        assert b"event: changed" in aside.submit(lambda: asyncio.run(first())).result(60)


def test_nothing_is_asked_while_nothing_changes(site: _Site, browser_page: Page) -> None:
    """Catches a page that polls: it is asked for once by the visitor, and once when the stream opens."""
    with browser_page.expect_response(
        lambda answer: answer.url == site.url and answer.request.resource_type == "fetch"
    ):
        browser_page.goto(site.url)
    asked = site.asked
    with browser_page.expect_response(lambda answer: answer.url == site.url):
        site.count = 5
    assert site.asked == asked + 1


def test_whoever_is_not_allowed_any_more_sees_nothing_more(site: _Site, browser_page: Page) -> None:
    """Catches a stream that goes on after the session ended."""
    browser_page.goto(site.url)
    expect(browser_page.get_by_role("heading", name="count 0")).to_be_visible()
    site.allowed = False
    site.count = 7
    expect(browser_page.get_by_role("heading", name="logged out")).to_be_visible(timeout=20_000)
