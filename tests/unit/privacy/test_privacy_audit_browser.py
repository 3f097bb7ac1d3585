"""The report in a real browser: readable at both widths and on paper, by keyboard, without colour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from privacy import accounting
from privacy.audit.findings import Code, Finding
from privacy.audit.report import html
from privacy.audit.report.pages import pages
from privacy.audit.sources import read_source
from privacy.audit.verify import audit
from tests.audit_books import World
from tests.browser import DESKTOP, PHONE, axe_findings, keep_screenshot, scrolls_sideways


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of a clean audit, with a long list of what left, and of one with findings."""
    folder = tmp_path_factory.mktemp("world")
    world = World.create(folder)
    world.live()
    clean = audit(
        [read_source(path) for path in world.exports().values()], world.trusted(), accounting.epsilon
    )
    north = clean.hospitals[0]
    replies = tuple(entry for entry in north.entries if entry.kind == "release") * 60
    clean = replace(
        clean, hospitals=(replace(north, entries=(*north.entries, *replies)), *clean.hospitals[1:])
    )
    found = replace(clean, findings=(Finding(Code.NOT_PAID, "north", 7, "nobody paid for it"),))
    files = {}
    for name, audited in {"clean": clean, "found": found}.items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(html.render(pages(audited, datetime(2031, 1, 1, tzinfo=UTC))), "utf-8")
    return files


@pytest.mark.parametrize("name", ["clean", "found"])
@pytest.mark.parametrize(("width", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_a_report_is_readable(
    reports: dict[str, Path], browser_page: Page, name: str, width: str, size: tuple[int, int]
) -> None:
    """Catches what axe-core calls serious, and a page wider than the window."""
    browser_page.set_viewport_size({"width": size[0], "height": size[1]})
    browser_page.goto(reports[name].as_uri())
    assert axe_findings(browser_page) == []
    assert not scrolls_sideways(browser_page)
    keep_screenshot(browser_page, f"report-{name}-{width}")


def test_a_report_by_keyboard(reports: dict[str, Path], browser_page: Page) -> None:
    """Catches a table of contents that leads nowhere, and a folded list that only a mouse opens."""
    browser_page.goto(reports["clean"].as_uri())
    browser_page.keyboard.press("Tab")
    first = browser_page.evaluate("document.activeElement.textContent")
    browser_page.keyboard.press("Enter")
    expect(browser_page.locator(":target")).to_have_text(first)
    folded = browser_page.locator("details")
    folded.locator("summary").focus()
    browser_page.keyboard.press("Enter")
    expect(folded.locator("tbody tr").first).to_be_visible()


def test_a_report_on_paper(reports: dict[str, Path], browser_page: Page, tmp_path: Path) -> None:
    """Catches a print that leaves out the folded rows, or whose verdict is white on white where colours are not printed."""
    browser_page.goto(reports["clean"].as_uri())
    browser_page.emulate_media(media="print")
    expect(browser_page.locator("details tbody tr").first).to_be_visible()
    expect(browser_page.locator(".verdict")).to_have_css("color", "rgb(0, 0, 0)")
    expect(browser_page.locator("nav")).to_be_hidden()
    paper = browser_page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=False)
    assert paper.count(b"/Type /Page\n") >= 4
