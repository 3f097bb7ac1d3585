"""The three programs as trees of commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer
from typer.main import get_command

from auditor.cli import app as audit
from client.cli import app as hospital
from docs_site.commands import leaves
from server.cli import app as consortium

PROGRAMS: dict[str, typer.Typer] = {
    "fedpath-hospital": hospital,
    "fedpath-consortium": consortium,
    "fedpath-audit": audit,
}
# They run until they are told to end, and answer nothing.
DAEMONS = {
    "fedpath-hospital agent",
    "fedpath-hospital courier",
    "fedpath-hospital start",
    "fedpath-hospital serve",
    "fedpath-consortium start",
    "fedpath-consortium serve",
}


@dataclass(frozen=True)
class Leaf:
    """A command that does something: its path, with the program's name first, and click's object."""

    path: tuple[str, ...]
    command: Any

    def __str__(self) -> str:
        return " ".join(self.path)

    @property
    def arguments(self) -> list[Any]:
        """Its positional parameters."""
        return [one for one in self.command.params if one.param_type_name == "argument"]

    @property
    def options(self) -> list[Any]:
        """The others, without `--help`."""
        return [one for one in self.command.params if one.param_type_name == "option"]


LEAVES = [
    Leaf(path, command)
    for name, app in PROGRAMS.items()
    for path, command in leaves(get_command(app), (name,))
]
