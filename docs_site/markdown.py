"""Pieces of Markdown that hold any text: tables whose cells can't break out of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """Text as one cell of a table: on one line, its bars and angle brackets escaped."""
    parts = re.split(r"(`[^`]*`)", " ".join(str(text).split()))
    shown = [part if part.startswith("`") else part.replace("<", "&lt;") for part in parts]
    return "".join(shown).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, without the columns that are empty in every row; nothing where there are no rows."""
    cells = [[cell(text) for text in row] for row in rows]
    kept = [index for index in range(len(head)) if any(row[index] for row in cells)]
    if not cells:
        return ""
    lines = [
        [head[index] for index in kept],
        ["---"] * len(kept),
        *([row[index] for index in kept] for row in cells),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: object) -> str:
    """Text in backticks."""
    return f"`{text}`"


def page(*parts: str) -> str:
    """Parts with an empty line between each two; empty ones are left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def words(docstring: str | None) -> str:
    """A docstring without its indentation."""
    return inspect.cleandoc(docstring or "")
