"""The hospital behind the page: its home, its ledger, its status, its slides. Everything here only reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment

from client import check_host, paused
from client.data import open_scales
from client.errors import ClientError
from client.health import health
from client.home import Home
from client.page.book import PageBook, Read
from client.page.entry import Session
from client.page.pictures import Pictures
from client.page.spending import Reckoner, Spending
from client.page.views import verdicts
from client.page.views.slides import Cohort, Serving, cohort
from client.page.views.verdicts import Verdict
from client.rpc import AgentUnreachableError, call
from client.slides.catalogue import Entry, read_entries
from pages.charts import bar
from pages.templates import templates
from privacy import keys
from privacy.code_hash import code_hash
from privacy.errors import PrivacyError
from privacy.policy import Policy

_PAGES = (
    ("/", "Is it well"),
    ("/left", "What left"),
    ("/budget", "Budget"),
    ("/campaigns", "Campaigns"),
    ("/policy", "Policy"),
    ("/slides", "Slides"),
    ("/learning", "Learning"),
)
_STATUS_S = 5.0


@dataclass
class House:
    """Opened once. Of keys it reads the public half of the release key alone."""

    home: Home
    pictures: Pictures = field(default_factory=Pictures)
    _reckoner: Reckoner = field(default_factory=Reckoner)
    _entries: tuple[object, dict[str, Entry]] | None = None

    @cached_property
    def _book(self) -> PageBook:
        return PageBook(self.home.ledger, keys.load_public(keys.public_path(self.home.release_key)))

    @cached_property
    def _templates(self) -> Environment:
        return templates("client.page")

    @cached_property
    def _code(self) -> str:
        """The hash of the installed code, as it was when the page started."""
        return code_hash()

    def draw(self, template: str, session: Session, path: str, **values: Any) -> str:
        """A page."""
        return self._templates.get_template(template).render(
            place=self.home.settings.name,
            navigation=[{"href": href, "words": words} for href, words in _PAGES],
            current=path,
            csrf=session.csrf,
            events="/events",
            bar=bar,
            may_act=self.may_act,
            may_approve=self.may_approve,
            now=datetime.now(UTC),
            **values,
        )

    @property
    def may_act(self) -> bool:
        """Whether the page may write in the home; in a unit or a container of its own it only looks."""
        return os.access(self.home.folder, os.W_OK)

    @property
    def may_approve(self) -> bool:
        """Whether a command that the page runs can sign an entry of the ledger."""
        return self.may_act and os.access(self.home.release_key, os.R_OK)

    def ledger(self) -> Read:
        """The ledger now. Raises `LedgerError`, `KeyFileError`."""
        return self._book.now()

    def spending(self, read: Read, policy: Policy) -> Spending:
        """What is spent by this ledger under this policy."""
        return self._reckoner.spending(read.account, policy)

    def status(self) -> dict[str, Any]:
        """What the agent does now; empty where none answers."""
        try:
            found = json.loads(call(self.home.status_socket, "status", b"", timeout=_STATUS_S))
        except (AgentUnreachableError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def courier(self) -> tuple[bool, str]:
        """Whether a courier lives that can be seen from here, and what confinement it last reported."""
        try:
            report = self.home.courier_report.read_text("utf-8", "replace").strip()
        except OSError:
            report = ""
        return self.home.courier_lives(), report

    def cohort(self, status: dict[str, Any]) -> Cohort:
        """The slides that the catalogue knows. Raises `ClientError`."""
        entries = self._catalogue()
        told = status.get("skipped", {})
        return cohort(
            entries, open_scales(self.home).of(entries.keys()), told if isinstance(told, dict) else {}
        )

    def _catalogue(self) -> dict[str, Entry]:
        """Read again where the file is another: a page of thumbnails asks many times."""
        catalogue = self.home.catalogue
        state = tuple(_state(path) for path in (catalogue, catalogue.with_name(catalogue.name + "-wal")))
        kept = self._entries
        if kept is None or kept[0] != state:
            kept = self._entries = (state, read_entries(catalogue))
        return kept[1]

    def thumbnail(self, slide: Serving) -> bytes | None:
        """A JPEG; None where it can't be drawn."""
        path = self.home.settings.slides / slide.name
        asked = {"path": str(path.absolute()), "mpp": slide.mpp}
        return self.pictures.get("thumbnail", slide.key, slide.stamp, asked)

    def sheet(self, slide: Serving) -> bytes | None:
        """A PNG, as the model sees the slide; None where it can't be drawn."""
        asked = {"home": str(self.home.folder), "name": slide.name}
        return self.pictures.get("sheet", slide.key, slide.stamp, asked)

    def verdicts(self, status: dict[str, Any]) -> list[Verdict]:
        """Each part's. What one look stumbles over keeps no other from being taken."""
        looks: tuple[tuple[str, Callable[[], Iterator[Verdict]]], ...] = (
            ("agent", lambda: iter([verdicts.of_health(health(self.home))])),
            ("courier", lambda: iter([verdicts.of_courier(*self.courier())])),
            ("rounds", self._pause),
            ("kit", self._ends),
            ("ledger", self._ledger),
            ("disk", lambda: map(verdicts.of_finding, check_host.disk(self.home))),
            ("clock", lambda: map(verdicts.of_finding, check_host.clock())),
            ("slides", lambda: iter([self._slides(status)])),
        )
        found: list[Verdict] = []
        for what, look in looks:
            try:
                found += look()
            except (ClientError, PrivacyError, OSError) as error:
                found.append(verdicts.of_error(what, error))
        return found

    def _pause(self) -> Iterator[Verdict]:
        if (told := verdicts.of_pause(paused.since(self.home.paused))) is not None:
            yield told

    def _ends(self) -> Iterator[Verdict]:
        yield from map(verdicts.of_end, self.home.kit.expiries(datetime.now(UTC)))

    def _ledger(self) -> Iterator[Verdict]:
        read = self.ledger()
        yield Verdict("ledger", "fine", f"its {len(read.entries)} entries verify")
        yield from map(verdicts.of_finding, check_host.gone_back(read.account.last))
        yield verdicts.of_selftest(read.account.selftests.get(self._code))
        policy = self.home.policy
        yield verdicts.of_budget(self.spending(read, policy), policy.delta)

    def _slides(self, status: dict[str, Any]) -> Verdict:
        found = self.cohort(status)
        return verdicts.of_slides(len(found.serving), found.out, self.home.catalogue.exists())


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
