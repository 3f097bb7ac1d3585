"""The consortium behind the page: its home, its store, and how its pages are drawn."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Environment

from pages.charts import bar
from pages.templates import templates
from server.home import Home
from server.page.access.roles import Role
from server.page.access.visitor import Visitor
from server.page.kits import Kits
from server.store import Store

_PAGES = (
    ("/", "Campaigns", Role.READ_ONLY),
    ("/experts", "Experts", Role.READ_ONLY),
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

    def store(self) -> Store:
        """The store, opened once, for reading. Raises `StoreError`.

        What writes, or verifies the journal, opens its own (`Home.store`): the coordinator's key may have been rotated since.
        """
        with self._lock:
            if self._store is None:
                self._store = self.home.store()
            return self._store

    @cached_property
    def kits(self) -> Kits:
        """What the hospitals' kits say."""
        return Kits(self.home)

    @cached_property
    def _templates(self) -> Environment:
        return templates("server.page")

    def draw(self, template: str, visitor: Visitor, path: str, **values: Any) -> str:
        """A page for this visitor: only what the role may see is offered."""
        offered = [{"href": href, "words": words} for href, words, role in _PAGES if visitor.role.may(role)]
        current = "/" if path.startswith(("/campaigns", "/start")) else path
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
