"""The page of what a log can say: every event of both sides."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import fields

from docs_site.markdown import code, page, table, words
from privacy.events import Event, Level

SIDES = {
    "Both": "privacy.events",
    "A hospital's agent and courier": "client.events",
    "The consortium": "server.events",
    "The coordinator's page": "server.page.events",
}


def events() -> str:
    """Every event, its level and fields."""
    parts = [
        "# Events of the logs",
        "A daemon's log holds these lines and no others. [Monitoring](../howto/monitor.md) shows what they look like, how they "
        "are shipped, and the figures that there are besides.",
    ]
    for title, module in SIDES.items():
        parts += [f"## {title}", table(("event", "level", "fields", "what"), map(_row, of(module)))]
    return page(*parts)


def of(module: str) -> Iterator[type[Event]]:
    """The events that a module defines, in its order."""
    for value in vars(importlib.import_module(module)).values():
        if (
            isinstance(value, type)
            and issubclass(value, Event)
            and value.__module__ == module
            and value is not Event
        ):
            yield value


def _row(event: type[Event]) -> tuple[str, Level, str, str]:
    said = ", ".join(code(item.name) for item in fields(event))
    return code(event.word()), event.level, said, words(event.__doc__)
