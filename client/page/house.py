"""The hospital behind the page: its home, its ledger, its status, its slides."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment

from client.errors import HomeError
from client.home import Home
from client.page.book import PageBook
from client.page.entry import Session
from client.rpc import AgentUnreachableError, call
from client.slides.catalogue import Entry, open_catalogue
from pages.charts import bar
from pages.templates import templates
from privacy import keys
from privacy.code_hash import code_hash
from privacy.enrolment.expiry import Expiry
from privacy.errors import EnrolmentFileError

_PAGES = (
    ("/", "Is it well"),
    ("/left", "What left"),
    ("/budget", "Budget"),
    ("/campaigns", "Campaigns"),
    ("/policy", "Policy"),
    ("/slides", "Slides"),
)
_PICTURE_S = 120


@dataclass
class House:
    """Opened once. It keeps the public half of the release key; an approval loads the key for that entry alone."""

    home: Home
    _one_picture: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def book(self) -> PageBook:
        """The ledger."""
        return PageBook(self.home.ledger, keys.load(self.home.release_key).public)

    @cached_property
    def _templates(self) -> Environment:
        return templates("client.page")

    def draw(self, template: str, session: Session, path: str, **values: Any) -> str:
        """A page."""
        return self._templates.get_template(template).render(
            place=self.home.settings.name,
            navigation=[{"href": href, "words": words} for href, words in _PAGES],
            current=path,
            csrf=session.csrf,
            events="/events",
            bar=bar,
            **values,
        )

    @cached_property
    def code(self) -> str:
        """The hash of the installed code, as it was when the page started."""
        return code_hash()

    def expiries(self, now: datetime) -> list[Expiry]:
        """What ends when; nothing before the hospital joined."""
        try:
            return list(self.home.kit.expiries(now))
        except (HomeError, EnrolmentFileError):
            return []

    def status(self) -> dict[str, Any]:
        """What the agent does now; empty where none answers."""
        try:
            found = json.loads(call(self.home.status_socket, "status", b"", timeout=5))
        except (AgentUnreachableError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def courier(self) -> str:
        """What the courier reports of itself; empty where it never started."""
        try:
            return self.home.courier_report.read_text("utf-8").strip()
        except OSError:
            return ""

    def free(self) -> float:
        """The share of the home's disk that is free."""
        found = shutil.disk_usage(self.home.folder)
        return found.free / found.total

    def slides(self) -> dict[str, Entry]:
        """All that the catalogue knows; empty before the first `index`."""
        if not self.home.catalogue.exists():
            return {}
        with open_catalogue(self.home.catalogue) as catalogue:
            return catalogue.entries()

    def picture(self, slide: str) -> bytes | None:
        """A slide as the model sees it, made by `slide show` in a process of its own, one at a time; None where it can't be."""
        with self._one_picture, tempfile.TemporaryDirectory(prefix="fedpath-page-") as folder:
            out = Path(folder) / "slide.png"
            words = ["slide", "show", str(self.home.folder), slide, "--out", str(out)]
            run = [sys.executable, "-c", "from client.cli import app; app()", *words]
            try:
                done = subprocess.run(
                    run, capture_output=True, timeout=_PICTURE_S, cwd=Path(__file__).parents[2]
                )
            except subprocess.TimeoutExpired:
                return None
            return out.read_bytes() if done.returncode == 0 else None
