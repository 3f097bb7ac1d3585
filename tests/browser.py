"""A real browser for tests of pages: Chromium driven by Playwright, axe-core's judgement, screenshots that are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

DESKTOP, PHONE = (1280, 800), (390, 844)
SCREENSHOTS = Path("build/screenshots")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, headless; skips where there is none. `FEDPATH_CHROMIUM` names another."""
    found = os.environ.get("FEDPATH_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(
            "no Chromium here: install it (Debian: apt-get install chromium), or name it in FEDPATH_CHROMIUM"
        )
    sandbox = () if os.geteuid() else ("--no-sandbox",)  # Chromium has none for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*_QUIET, *sandbox])
        yield browser
        browser.close()


def axe_findings(page: Page) -> list[str]:
    """What axe-core finds serious or critical on the page as it is, a line each; empty is good."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def scrolls_sideways(page: Page) -> bool:
    """Whether the page as a whole is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def keep_screenshot(page: Page, name: str) -> Path:
    """The whole page as `build/screenshots/NAME.png`, in few colours: small enough to lie beside the documentation."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    place = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=place, full_page=True)
    with Image.open(place) as image:
        image.convert("RGB").quantize(64).save(place, optimize=True)
    return place
