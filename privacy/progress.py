"""How work that takes long says how far it has come; `privacy.command_line.progress` shows it on a terminal."""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Takes how far work has come: what is done now, how much of it, and of how much where that is known."""

    def __call__(self, what: str, done: int = 0, of: int | None = None) -> None:
        """Called once before the first and after each."""


def quietly(what: str, done: int = 0, of: int | None = None) -> None:
    """Tell nobody."""
