from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page

from tests.browser import DESKTOP, chromium
from tests.tiny_base import write_tiny_base

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    """A command that a test calls in this process may close the umask: the next test starts with the one before."""
    kept = os.umask(0o022)
    os.umask(kept)
    yield
    os.umask(kept)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with random weights."""
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def shared_slides() -> Path:
    """The folder of real and bad slides that lies beside the project on some machines; skips where it is not
    there.
    """
    beside = Path(__file__).parents[1].parent / "shared"
    folder = Path(os.environ.get("FEDPATH_SHARED", beside)) / "slides"
    if not folder.is_dir():
        pytest.skip(f"no real slides here ({folder}); set FEDPATH_SHARED to the folder that holds `slides`")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a process; skips where the machine has none."""
    with chromium() as started:
        yield started


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A page of a fresh profile, at desktop width. Fails the test when a script of the page fails."""
    width, height = DESKTOP
    context = browser.new_context(viewport={"width": width, "height": height}, ignore_https_errors=True)
    page, failures = context.new_page(), []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    context.close()
    assert not failures, failures
