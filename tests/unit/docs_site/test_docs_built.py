"""The site as MkDocs builds it: without a warning, without anything from elsewhere, readable, searchable."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import DESKTOP, PHONE, axe_findings, keep_screenshot, scrolls_sideways
from tests.documented import ROOT

LOOKED_AT = (
    "index.html",
    "howto/enrol.html",
    "reference/fedpath-hospital.html",
    "reference/books.html",
    "concepts/privacy.html",
    "faq.html",
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(30)
    server.server_close()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """Catches a font, script or picture of another host, which a hospital's network refuses and which tells who reads."""
    loads = re.compile(
        r"<(?:script|img|iframe|link(?=[^>]*stylesheet|[^>]*preconnect|[^>]*icon))[^>]*(?:src|href)=\"((?:https?:)?//[^\"]+)"
    )
    found = {url for page in site.rglob("*.html") for url in loads.findall(page.read_text("utf-8"))}
    assert found == set()
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", styles)
    assert loads.search('<link rel="stylesheet" href="https://fonts.example/a.css">')


def test_pages_of_the_repository_are_there(site: Path) -> None:
    """Catches pages that a hook no longer makes."""
    for page in (
        *LOOKED_AT,
        "project/security.html",
        "project/changelog.html",
        "adr/index.html",
        "start.html",
    ):
        assert (site / page).is_file(), page
    records = sorted(path.stem for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert sorted(path.stem for path in (site / "adr").glob("0*.html")) == records


@pytest.mark.parametrize(("width", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_pages_are_readable_at_both_widths(
    browser: Browser, address: str, width: str, size: tuple[int, int]
) -> None:
    """Catches a page that scrolls sideways, asks another host for something, or that some can't read."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page, asked = context.new_page(), set()
    page.on("request", lambda request: asked.add(request.url))
    for name in LOOKED_AT:
        page.goto(f"{address}/{name}")
        page.wait_for_load_state("networkidle")
        assert not scrolls_sideways(page), name
        assert axe_findings(page) == [], name
        keep_screenshot(page, f"docs-{Path(name).parent.name}-{Path(name).stem}-{width}")
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_the_search_finds_a_code(browser: Browser, address: str) -> None:
    """Catches a search without its index, or one that asks a server."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/index.html")
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type("budget-exhausted")
    page.locator('.md-search-result a[href*="reference/codes"]').first.wait_for(
        state="attached", timeout=60_000
    )
    context.close()
