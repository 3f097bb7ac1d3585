"""The consortium behind the page: its home, its store, what its kits propose, and the campaign files that may be started."""

from __future__ import annotations

import re
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sql
from jinja2 import Environment

from pages.charts import bar
from pages.templates import templates
from privacy.enrolment.expiry import Expiry
from privacy.enrolment.kit import Kit
from privacy.errors import EnrolmentFileError, PolicyError
from privacy.events import Name, tell
from privacy.mechanism import Event
from privacy.policy import Policy
from server import superlink
from server import tables as db
from server.campaign_file import load_campaign
from server.errors import CampaignError, HomeError
from server.flower_cli import checkout
from server.home import Home
from server.page import reading
from server.page.access.roles import Role
from server.page.access.visitor import Visitor
from server.page.events import CampaignStarted
from server.page.views.spending import Limits, event_of
from server.provision.kits import kit_expiry
from server.reach import require_superlink
from server.runner import check_enrolled
from server.store import Store

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.toml")
_PAGES = (
    ("/", "Campaigns", Role.READ_ONLY),
    ("/hospitals", "Hospitals", Role.READ_ONLY),
    ("/privacy", "Privacy", Role.AUDITOR),
    ("/journal", "Journal", Role.AUDITOR),
)


@dataclass
class House:
    """Opened once; its store is opened at the first page, and its journal verified then."""

    home: Home
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _store: Store | None = None
    _limits: dict[str, tuple[float, Limits | None]] = field(default_factory=dict)

    def store(self) -> Store:
        """The store, opened once. Raises `StoreError`."""
        with self._lock:
            if self._store is None:
                self._store = self.home.store()
            return self._store

    @cached_property
    def _templates(self) -> Environment:
        return templates("server.page")

    def draw(self, template: str, visitor: Visitor, path: str, **values: Any) -> str:
        """A page for this visitor: only what the role may see is offered."""
        offered = [{"href": href, "words": words} for href, words, role in _PAGES if visitor.role.may(role)]
        current = "/" if path.startswith("/campaigns") else path
        return self._templates.get_template(template).render(
            place=self.home.name,
            navigation=offered,
            current=current,
            visitor=visitor,
            sees_privacy=visitor.role.may(Role.AUDITOR),
            steers=visitor.role.may(Role.COORDINATOR),
            events="/events",
            bar=bar,
            **values,
        )

    def definition(self, store: Store, campaign: str) -> bytes:
        """A campaign's definition, as it is kept."""
        (row,) = store.read(sql.select(db.campaigns.c.definition).filter_by(name=campaign))
        return bytes(row["definition"])

    def kits(self, store: Store, now: datetime) -> Mapping[str, Expiry | None]:
        """How long each hospital's kit is good."""
        return {name: kit_expiry(self.home, name, now) for name in store.hospitals()}

    def limits(self, hospital: str) -> Limits | None:
        """What the hospital's kit proposes; None where there is no kit of this coordinator's. Read again when it changed."""
        file = self.home.folder / "kits" / f"{hospital}.json"
        try:
            at = file.stat().st_mtime
            if hospital not in self._limits or self._limits[hospital][0] != at:
                policy = Policy.from_dict(
                    tomllib.loads(Kit.load(file, self.home.coordinator().public).policy)
                )
                self._limits[hospital] = at, Limits(policy.epsilon_budget, policy.delta)
        except (OSError, EnrolmentFileError, PolicyError, ValueError):
            return None
        return self._limits[hospital][1]

    def coming(self, store: Store) -> Event | None:
        """What the next round spends: that of the newest campaign that is not done, as its last round did; None without one."""
        for row in reading.campaigns(store):
            if row["state"] != "done":
                last = reading.open_round(store, row["name"]) or reading.round_at(
                    store, row["name"], row["committed"]
                )
                return None if last is None else event_of(last["plan"])
        return None

    def startable(self) -> list[str]:
        """Campaign files that whoever has the home's folder put into its `campaigns/`, by name."""
        folder = self.home.folder / "campaigns"
        return sorted(
            path.name for path in folder.glob("*.toml") if _FILE.fullmatch(path.name) and path.is_file()
        )

    def start(self, visitor: Visitor, file: str) -> str:
        """Run one of the `startable`, or go on with it. Returns Flower's run id. Raises `ServerError`."""
        if file not in self.startable():
            raise CampaignError(
                f"there is no campaign file {file!r} in {self.home.folder / 'campaigns'}: put it there"
            )
        path = self.home.folder / "campaigns" / file
        asked = load_campaign(path)
        check_enrolled(asked, self.store().hospitals())
        if self.home.is_running(asked.name):
            raise HomeError(f"campaign {asked.name!r} is being run already")
        require_superlink(self.home)
        config = {"home": str(self.home.folder), "campaign": str(path)}
        run_id = superlink.flower(self.home).submit(checkout() / "pyproject.toml", config)
        tell(CampaignStarted(Name(asked.name), Name(visitor.name)))
        return run_id
