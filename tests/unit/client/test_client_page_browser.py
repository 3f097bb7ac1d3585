"""The hospital's page in a real browser: readable, by keyboard, live."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from client import paused
from client.events import Phase
from client.installation import installed
from client.reward_curve import RewardCurve
from tests.browser import DESKTOP, PHONE, axe_findings, keep_screenshot, scrolls_sideways
from tests.unit.client.conftest import House, ask
from tests.unit.client.page_site import Site, make_site
from tests.unit.client.test_client_page import PAGES
from tests.unit.client.test_client_page_slides import indexed

LONG = 90_000  # milliseconds: machines are busy


@pytest.fixture(scope="module")
def site(shared_house: Callable[..., House]) -> Site:
    """A home with slides in it, rewards and a report: each page has something to show. It may train another round."""
    site = indexed(make_site(shared_house()))
    site.house.ledger().install(installed())
    home = site.house.home
    for number in (1, 2):
        curve = RewardCurve(home.rewards, "spring", number)
        for step in range(1, 30):
            for task, mean in (("classification", 0.4 + 0.01 * step), ("vqa", 0.9)):
                curve.rewarded(task, [mean, mean + 0.1])
            curve.step(step)
    home.evaluation.mkdir()
    score = {
        "scale": "roi",
        "task": "classification",
        "metric": "accuracy",
        "mean": 0.8,
        "ci95": [0.7, 0.9],
        "n": 40,
    }
    (home.evaluation / "report.json").write_text(json.dumps({"scores": [score]}))
    (home.evaluation / "report.html").write_text(
        "<!DOCTYPE html><html lang=en><title>r</title><style>h1{color:red}</style><h1>Report</h1>"
        "<script>document.body.textContent = 'ran'</script>"
    )
    return site


@pytest.fixture
def address(site: Site, browser_page: Page) -> Iterator[str]:
    """Where the page is; the browser is in."""
    browser_page.set_default_timeout(LONG)
    with site.served() as address:
        browser_page.goto(f"{address}/enter?secret={site.entry.secret}")
        assert browser_page.url == address + "/"
        yield address


@pytest.mark.parametrize(("width", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_every_page_is_readable_at_both_widths(
    site: Site, address: str, browser_page: Page, width: str, size: tuple[int, int]
) -> None:
    """Catches what axe-core calls serious, and a page wider than the window. Screenshots are kept, to be looked at."""
    browser_page.set_viewport_size({"width": size[0], "height": size[1]})
    with site.agent() as agent:
        agent.progress.begin(Phase.TRAINING, campaign="spring", round=3)
        agent.progress.step(4, 9)
        browser_page.goto(address + "/slides")
        one = browser_page.locator(".gallery a").first.get_attribute("href")
        assert one is not None
        for path in (*PAGES, one):
            browser_page.goto(address + path)
            expect(browser_page.get_by_role("heading", level=1)).to_be_visible()
            for picture in browser_page.locator("main img").all():
                picture.scroll_into_view_if_needed()
                browser_page.wait_for_function(
                    "one => one.complete", arg=picture.element_handle(), timeout=LONG
                )
                assert picture.evaluate("one => one.naturalWidth") > 0
            assert axe_findings(browser_page) == [], path
            assert not scrolls_sideways(browser_page), path
            name = "slide" if path == one else path.strip("/") or "well"
            keep_screenshot(browser_page, f"hospital-{name}-{width}")


def test_paused_by_keyboard_alone_and_resumed_from_elsewhere(
    site: Site, address: str, browser_page: Page
) -> None:
    """Catches a page that needs a mouse, or a reload to be true."""
    browser_page.goto(address)
    for _ in range(60):
        browser_page.keyboard.press("Tab")
        if browser_page.evaluate("document.activeElement.id") == "steer":
            break
    browser_page.keyboard.press("Enter")
    expect(browser_page.get_by_role("button", name="Resume")).to_be_visible(timeout=LONG)
    assert paused.since(site.house.home.paused) is not None
    paused.resume(site.house.home.paused)
    expect(browser_page.get_by_role("button", name="Pause")).to_be_visible(timeout=LONG)


def test_a_round_is_seen_while_it_is_trained(site: Site, address: str, browser_page: Page) -> None:
    """Catches a page that stands still: steps move, and what left stands there, without a reload."""
    with site.agent() as agent:
        browser_page.goto(address)
        browser_page.evaluate("window.kept = 1")
        for step in (1, 2):
            agent.progress.begin(Phase.TRAINING, campaign="spring", round=3)
            agent.progress.step(step, 4)
            expect(browser_page.locator("#now")).to_contain_text(f"{step} of 4", timeout=LONG)
        before = browser_page.locator("#well").inner_text()
        asked = threading.Thread(target=ask, args=(agent, "train", site.house.request(site.house.plan(3))))
        asked.start()
        expect(browser_page.locator("#now")).to_contain_text("2 releases", timeout=LONG)
        asked.join(120)
        assert browser_page.locator("#well").inner_text() != before
        assert browser_page.evaluate("window.kept") == 1
        browser_page.goto(address + "/left")
        expect(browser_page.locator("#left")).to_contain_text("release/scale/wsi")


def test_a_report_runs_nothing(site: Site, address: str, browser_page: Page) -> None:
    """Catches a report's markup that acts in the page's name, or that loses its style."""
    browser_page.goto(address + "/learning")
    browser_page.get_by_role("link", name="The whole report").click()
    expect(browser_page.get_by_role("heading", name="Report")).to_have_css("color", "rgb(255, 0, 0)")


def test_a_campaign_is_approved_by_a_click(site: Site, address: str, browser_page: Page) -> None:
    """Catches a form that the page's own policy for browsers stops."""
    browser_page.goto(address + "/campaigns")
    browser_page.get_by_role("button", name="Approve autumn").click()
    expect(browser_page.get_by_role("button", name="Withdraw approval of autumn")).to_be_visible(timeout=LONG)
    assert site.house.ledger().approved() == {"autumn"}
