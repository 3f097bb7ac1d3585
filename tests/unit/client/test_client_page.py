"""The hospital's page over a real home: what it tells, who gets in, what it does; then in a real browser."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient

from client import paused
from client.asked_campaigns import AskedCampaigns
from client.page.app import page
from client.page.entry import COOKIE, LONGEST_S, Entry
from client.page.house import House as Behind
from client.page.routes import ADDRESSES
from pages.serving import LOOPBACK, listen
from privacy import canonical
from privacy.codes import Refusal
from privacy.egress_record import EgressRecord
from tests.browser import DESKTOP, PHONE, axe_findings, keep_screenshot, scrolls_sideways
from tests.documented import claim
from tests.unit.client.conftest import House

(SERVE,) = claim("docs/hospitals-page.md")
_PAGES = ("/", "/left", "/budget", "/policy", "/campaigns", "/slides")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CODE = "c0" * 32


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """A home that has trained two rounds, and its page."""

    house: House
    entry: Entry
    clock: Clock

    def client(self, *, enter: bool = True) -> TestClient:
        app = page(self.house.home, LOOPBACK, self.entry)
        client = TestClient(app, base_url="http://127.0.0.1:8788", follow_redirects=False)
        if enter:
            assert client.get(f"/enter?secret={self.entry.secret}").status_code == 303
        return client

    def csrf(self, client: TestClient) -> str:
        session = self.entry.session(client.cookies[COOKIE])
        assert session is not None
        return session.csrf

    @contextmanager
    def served(self) -> Iterator[str]:
        sock = listen("127.0.0.1", 0)
        config = uvicorn.Config(
            page(self.house.home, LOOPBACK, self.entry), log_level="error", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def site(house: Callable[..., House]) -> Site:
    place = house()
    ledger, policy = place.ledger(), place.home.policy
    for number in (1, 2):
        plan = place.plan(number)
        reservation = ledger.reserve(plan, policy, CODE)
        sealed = b"sealed %d" % number
        ledger.spend(reservation, {"scale/roi": sealed})
        record = EgressRecord(
            "release/scale/roi",
            canonical.digest(sealed),
            len(sealed),
            ledger.epsilon(policy.delta),
            "ab" * 32,
        )
        ledger.log_egress([record])
    ledger.refuse(Refusal.POLICY_NOISE, "ee" * 32)
    AskedCampaigns(place.home.asked_campaigns).note(place.plan(3, campaign="autumn"), datetime.now(UTC))
    clock = Clock()
    return Site(place, Entry(clock=clock), clock)


def test_pages_tell_what_the_home_holds(site: Site) -> None:
    """Catches a page that is empty, that fails, or that reads something else than the ledger."""
    client = site.client()
    texts = {path: client.get(path).text for path in _PAGES}
    spent = f"{site.house.ledger().epsilon(site.house.home.policy.delta):.3f}"
    for path, words in {
        "/": ["not ready", "never run under this code", "policy-noise", "No agent answers"],
        "/left": ["release/scale/roi", "2 parts of replies", spent, "policy-noise"],
        "/budget": ["in all", spent, "2 requests were charged", "more rounds like the last one"],
        "/policy": ["epsilon_budget", "50.0", "the most epsilon that may ever be spent"],
        "/campaigns": ["autumn", "spring", "Approve"],
        "/slides": ["slides serve"],
    }.items():
        assert [word for word in words if word not in texts[path]] == [], path


def test_nothing_is_shown_and_nothing_done_without_a_session(site: Site) -> None:
    """Catches an address that forgot its guard, for every method."""
    client = site.client(enter=False)
    taken: dict[str, set[str]] = {}
    for address in ADDRESSES:
        path = address.path.format(name="autumn", key="k")
        taken.setdefault(path, set()).update(
            {address.method} | ({"HEAD"} if address.method == "GET" else set())
        )
    for cookie in ("", "wrong", site.entry.secret):
        client.cookies.clear()
        client.cookies.set(COOKIE, cookie, domain="127.0.0.1", path="/")
        for path, methods in taken.items():
            for method in _METHODS:
                status = client.request(method, path).status_code
                assert status == (401 if method in methods else 405), (method, path)


@pytest.mark.parametrize("secret", ["", "wrong", "\xff", "x" * 5000])
def test_only_the_secret_opens(site: Site, secret: str) -> None:
    client = site.client(enter=False)
    assert client.get("/enter", params={"secret": secret}).status_code == 403
    assert COOKIE not in client.cookies


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_ends(site: Site) -> None:
    client = site.client(enter=False)
    cookie = client.get(f"/enter?secret={site.entry.secret}").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert site.entry.secret not in cookie
    site.clock.now += LONGEST_S + 1
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {}),
        ({"csrf": "wrong"}, {}),
        (None, {"origin": "https://evil.example"}),
        (None, {"sec-fetch-site": "cross-site"}),
    ],
    ids=str,
)
def test_a_form_from_elsewhere_does_nothing(
    site: Site, form: dict[str, str] | None, headers: dict[str, str]
) -> None:
    """Catches another site's page that pauses a hospital or approves a campaign through an open browser."""
    client = site.client()
    given = {"csrf": site.csrf(client)} if form is None else form
    for path in ("/pause", "/campaigns/autumn/approve"):
        assert client.post(path, data=given, headers=headers).status_code == 403
    assert paused.since(site.house.home.paused) is None
    assert site.house.ledger().approved() == frozenset()


def test_what_is_done_is_what_the_commands_do(site: Site) -> None:
    client = site.client()
    form = {"csrf": site.csrf(client)}
    assert client.post("/pause", data=form).status_code == 303
    assert paused.since(site.house.home.paused) is not None
    assert "paused: no new round begins" in client.get("/").text
    client.post("/resume", data=form)
    assert paused.since(site.house.home.paused) is None
    client.post("/campaigns/autumn/approve", data=form)
    assert site.house.ledger().approved() == {"autumn"}
    client.post("/campaigns/autumn/withdraw", data=form)
    assert site.house.ledger().approved() == frozenset()
    assert client.post("/campaigns/made-up/approve", data=form).status_code == 404


@pytest.mark.parametrize("key", ["..%2f..%2fetc%2fpasswd", "one.svs", "nothing", "%00"])
def test_a_slide_is_found_by_its_pseudonym_alone(site: Site, key: str) -> None:
    """Catches a path in an address that is opened."""
    assert site.client().get(f"/slides/{key}/picture").status_code == 404


def test_an_indexed_slide_has_a_picture_and_a_bad_one_its_reason(site: Site) -> None:
    """Catches pictures that are cached, and a skipped slide without a word on what to do."""
    home = site.house.home
    (Path(home.settings.slides) / "broken.svs").write_bytes(b"no slide")
    try:
        run = [sys.executable, "-c", "from client.cli import app; app()", "index", str(home.folder)]
        subprocess.run(run, check=True, capture_output=True, timeout=300)
        client = site.client()
        text = client.get("/slides").text
        assert "broken.svs" in text
        key = next(entry.key for entry in Behind(home).slides().values() if entry.facts is not None)
        answer = client.get(f"/slides/{key}/picture")
        assert answer.content.startswith(b"\x89PNG")
        assert answer.headers["cache-control"] == "no-store"
    finally:
        (Path(home.settings.slides) / "broken.svs").unlink()


def test_the_command_tells_its_address_to_a_file_alone(site: Site) -> None:
    """Catches a secret in a log, or a page that other machines reach without TLS; the page's process has no torch."""
    home = site.house.home
    command = [
        sys.executable,
        "-c",
        "from client.cli import app; app()",
        *({"north": str(home.folder)}.get(word, word) for word in SERVE.arguments),
        "--port",
        "0",
    ]
    refused = subprocess.run([*command, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=120)
    assert (refused.returncode, "tls-certificate" in refused.stderr) == (1, True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as served:
        assert served.stdout is not None
        said = served.stdout.readline()
        file = home.folder / "page-address"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        secret = file.read_text().strip().partition("secret=")[2]
        assert len(secret) > 30
        maps = Path(f"/proc/{served.pid}/maps").read_text()
        served.terminate()
        rest = served.stdout.read()
        assert served.wait(30) == 0, rest
    assert secret not in said + rest
    assert "libtorch" not in maps
    assert not file.exists()


@pytest.mark.parametrize(("width", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_every_page_is_readable_at_both_widths(
    site: Site, browser_page: Page, width: str, size: tuple[int, int]
) -> None:
    """Catches what axe-core calls serious, and a page wider than the window. Screenshots are kept, to be looked at."""
    browser_page.set_viewport_size({"width": size[0], "height": size[1]})
    with site.served() as address:
        browser_page.goto(f"{address}/enter?secret={site.entry.secret}")
        assert browser_page.url == address + "/"
        for path in _PAGES:
            browser_page.goto(address + path)
            expect(browser_page.get_by_role("heading", level=1)).to_be_visible()
            assert axe_findings(browser_page) == [], path
            assert not scrolls_sideways(browser_page), path
            keep_screenshot(browser_page, f"hospital-{path.strip('/') or 'well'}-{width}")


def test_paused_by_keyboard_and_resumed_from_elsewhere(site: Site, browser_page: Page) -> None:
    """Catches a page that needs a mouse, or a reload to be true."""
    with site.served() as address:
        browser_page.goto(f"{address}/enter?secret={site.entry.secret}")
        browser_page.get_by_role("button", name="Pause").focus()
        browser_page.keyboard.press("Enter")
        expect(browser_page.get_by_role("button", name="Resume")).to_be_visible()
        paused.resume(site.house.home.paused)
        expect(browser_page.get_by_role("button", name="Pause")).to_be_visible(timeout=60_000)
