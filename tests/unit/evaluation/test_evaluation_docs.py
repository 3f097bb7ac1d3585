"""docs/howto/evaluate.md names only commands and options that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from client.cli import app as hospital
from server.cli import app as consortium

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "evaluate.md"
LINES = re.findall(r"^    (fedpath-\w+) (\w+) (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)


def options(program: str, command: str) -> set[str]:
    group = get_command({"fedpath-hospital": hospital, "fedpath-consortium": consortium}[program])
    found = group.commands[command]  # type: ignore[attr-defined]
    return {name for parameter in found.params for name in parameter.opts}


@pytest.mark.parametrize(("program", "command", "rest"), LINES)
def test_each_line_can_be_typed(program: str, command: str, rest: str) -> None:
    """Catches a page that tells of an option that was renamed."""
    used = set(re.findall(r"--[a-z-]+", rest.split("#")[0]))
    assert used <= options(program, command)


def test_every_command_of_the_page_is_shown() -> None:
    """Catches a pattern that finds no line to check."""
    shown = {(program, command) for program, command, _ in LINES}
    assert shown == {
        *(("fedpath-hospital", name) for name in ("evaluate", "ask", "curve")),
        *(("fedpath-consortium", name) for name in ("evaluate", "experts")),
    }
