"""The page in a real browser: at both widths, by keyboard alone, live, and with its walls."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from server.page.access.access import Access, users_of
from server.page.access.roles import Role
from server.page.access.sessions import IDLE_S
from tests.browser import DESKTOP, PHONE, axe_findings, keep_screenshot, scrolls_sideways
from tests.federation.simulator import SimulatedClock, SimulatedHospital
from tests.federation.test_rounds import CAMPAIGN, SFT, World, world
from tests.unit.page.conftest import NAMES, PASSWORD, Site, furnish, serving, set_back

_PAGES = {
    "campaigns": "/",
    "campaign": "/campaigns/spring",
    "round": "/campaigns/spring/rounds/1",
    "lineage": "/campaigns/spring/experts",
    "experts": "/experts",
    "start": "/start/spring.toml",
    "hospitals": "/hospitals",
    "privacy": "/privacy",
    "journal": "/journal",
    "account": "/account",
}


def log_in(page: Page, address: str, role: Role, path: str = "/") -> None:
    page.goto(address + path)
    page.get_by_label("Name").fill(NAMES[role])
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(address + path)


def tab_to(page: Page, words: str) -> None:
    """Press Tab until what these words stand on has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == words:
            return
    raise AssertionError(f"no way to {words!r} by Tab")


@pytest.mark.parametrize(("width", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_every_page_is_readable_at_both_widths(
    address: str, browser_page: Page, width: str, size: tuple[int, int]
) -> None:
    """Catches what axe-core calls serious, and a page wider than the window. Screenshots are kept, to be looked at."""
    browser_page.set_viewport_size({"width": size[0], "height": size[1]})
    browser_page.goto(address + "/login")
    assert axe_findings(browser_page) == []
    keep_screenshot(browser_page, f"coordinator-login-{width}")
    log_in(browser_page, address, Role.COORDINATOR)
    for name, path in _PAGES.items():
        browser_page.goto(address + path)
        expect(browser_page.get_by_role("heading", level=1)).to_be_visible()
        assert axe_findings(browser_page) == [], name
        assert not scrolls_sideways(browser_page), name
        keep_screenshot(browser_page, f"coordinator-{name}-{width}")


def test_log_in_walls_and_log_out_by_keyboard_alone(address: str, browser_page: Page) -> None:
    """Catches a form that needs a mouse, a wrong password without a word, and a page that shows what the role may not see."""
    page = browser_page
    page.goto(address + "/hospitals")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(NAMES[Role.READ_ONLY])
    page.keyboard.press("Tab")
    page.keyboard.type("not the password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    page.get_by_label("Password").focus()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(address + "/hospitals")
    expect(page.get_by_role("link", name="Privacy")).to_have_count(0)
    answer = page.goto(address + "/privacy")
    assert answer is not None
    assert answer.status == 403
    page.goto(address + "/")
    page.get_by_role("button", name="Log out").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(address + "/login")
    page.goto(address + "/")
    page.wait_for_url(re.compile("/login"))


def test_a_session_that_is_over_leads_to_log_in_and_back(
    address: str, site: Site, browser_page: Page
) -> None:
    """Catches an open page that outlives its session, and a log-in that forgets where one was."""
    log_in(browser_page, address, Role.AUDITOR, "/privacy")
    site.clock.now += IDLE_S + 1
    browser_page.wait_for_url(re.compile(r"/login\?next=%2Fprivacy"), timeout=60_000)


class HeldClock(SimulatedClock):
    """Time stops twice in the second round: once all are asked, and once all but the slow one have answered."""

    def __init__(self, slow: SimulatedHospital) -> None:
        super().__init__()
        self.asked, self.answered = threading.Event(), threading.Event()
        self._slow, self._slept = slow, 0

    def sleep(self, seconds: float) -> None:
        if self._slow.asked.count("train") == 2:
            self._slept += 1
            gate = {1: self.asked, 3: self.answered}.get(self._slept)
            assert gate is None or gate.wait(120)
        super().sleep(seconds)


@dataclass(frozen=True)
class Running:
    """The page of a consortium that runs a campaign now."""

    address: str
    world: World
    clock: HeldClock


@pytest.fixture
def running(tmp_path: Path, site: Site) -> Iterator[Running]:
    """Five hospitals, of which the last is slow, in three rounds of SFT."""
    here = world(tmp_path, "harbour", "hill", "lake", "park", "valley", evaluator=True)
    furnish(here)
    slow = here.hospitals["valley"]
    slow.faults.seconds = 20
    here.clock = clock = HeldClock(slow)
    set_back(here, 90)
    campaign = replace(CAMPAIGN, stages=(replace(SFT, rounds=3),), evaluate="stages")
    runner = threading.Thread(target=here.run, args=(campaign,), daemon=True)
    page = Site(here, Access(users_of(here.home), False, site.clock), site.clock)
    with serving(page) as address, here.home.only_runner(CAMPAIGN.name):
        runner.start()
        yield Running(address, here, clock)
        clock.asked.set()
        clock.answered.set()
        runner.join(120)
    assert not runner.is_alive()


def test_a_campaign_is_watched_live_and_paused_by_keyboard(running: Running, browser_page: Page) -> None:
    """Catches a page that must be reloaded to be true, and a pause that can't be reached without a mouse."""
    page, address = browser_page, running.address
    log_in(page, address, Role.COORDINATOR, "/")
    page.get_by_role("link", name="spring").click(timeout=60_000)
    expect(page.get_by_role("heading", name="Round 2 under way")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("0 of 5 have answered")).to_be_visible()
    page.evaluate("window.loaded = 'once'")
    running.clock.asked.set()
    expect(page.get_by_text("4 of 5 have answered")).to_be_visible(timeout=60_000)
    assert page.evaluate("window.loaded") == "once", "the answers came by a reload"
    assert axe_findings(page) == []
    for width, size in (("phone", PHONE), ("desktop", DESKTOP)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert not scrolls_sideways(page)
        keep_screenshot(page, f"coordinator-under-way-{width}")
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Pause spring?")).to_be_visible()
    assert axe_findings(page) == []
    keep_screenshot(page, "coordinator-pause-desktop")
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    page.wait_for_url(address + "/campaigns/spring")
    expect(page.get_by_role("link", name="Resume")).to_be_visible()
    running.clock.answered.set()
    expect(page.get_by_text("2 of 3").first).to_be_visible(timeout=60_000)
    tab_to(page, "Resume")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Resume spring?")).to_be_visible()
    tab_to(page, "Resume")
    page.keyboard.press("Enter")
    expect(page.get_by_text("3 of 3").first).to_be_visible(timeout=60_000)
    steered = [entry for entry in running.world.store.journal() if entry.kind in ("pause", "resume")]
    assert [entry.body for entry in steered] == [{"campaign": "spring", "by": "cora"}] * 2
