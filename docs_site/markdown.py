"""Pieces of Markdown that hold any text: tables whose cells can't break out of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """Text as one cell of a table: on one line, its bars and angle brackets escaped."""
    parts = re.split(r"(`[^`]*`)", " ".join(str(text).split()))
    shown = [part if part.startswith("`") else part.replace("<", "&lt;") for part in parts]
    return "".join(shown).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; nothing where there are no rows."""
    lines = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]) + "\n"


def code(text: object) -> str:
    """Text in backticks."""
    return f"`{text}`"


def page(*parts: str) -> str:
    """Parts with an empty line between each two; empty ones are left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def sentences(docstring: str | None) -> str:
    """A docstring as Markdown: without its indentation, reStructuredText left alone."""
    import inspect

    return inspect.cleandoc(docstring or "")
