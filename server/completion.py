"""What a shell completes: names that the home's store has. Whatever goes wrong, it offers nothing and says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from server.store import Store


def campaigns(context: typer.Context, incomplete: str) -> list[str]:
    """Names of campaigns that were begun."""
    return _named(context, incomplete, lambda store: store.campaigns())


def hospitals(context: typer.Context, incomplete: str) -> list[str]:
    """Names of hospitals that are enrolled."""
    return _named(context, incomplete, lambda store: store.hospitals())


def _named(context: typer.Context, incomplete: str, names: Callable[[Store], Iterable[str]]) -> list[str]:
    from server.home import Home

    try:
        return sorted(
            name
            for name in names(Home.open(Path(context.params["home"])).store())
            if name.startswith(incomplete)
        )
    except Exception:
        return []
