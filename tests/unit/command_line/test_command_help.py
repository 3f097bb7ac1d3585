"""`--help` of every command teaches: words for each argument and option, and examples that are right."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.command_line.programs import DAEMONS, LEAVES, PROGRAMS, Leaf

SCRIPTS = Path(sys.executable).parent


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
def test_everything_that_is_asked_for_is_explained(leaf: Leaf) -> None:
    """Catches a parameter without a word, and a version of click or typer that loses the words."""
    shown = CliRunner().invoke(PROGRAMS[leaf.path[0]], [*leaf.path[1:], "--help"], env={"COLUMNS": "300"})
    assert shown.exit_code == 0
    assert leaf.command.help, leaf
    for each in (*leaf.arguments, *leaf.options):
        assert each.help, (str(leaf), each.name)
        assert each.help.split("`")[0].split("  ")[0][:30].rstrip() in shown.stdout, (str(leaf), each.name)


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
def test_examples_are_right(leaf: Leaf) -> None:
    """Catches an example of another command, and one whose options or arguments the command doesn't take."""
    examples = (leaf.command.epilog or "").split("\n\n")
    for example in examples:
        words = shlex.split(re.sub(r"<.*", "", example))
        assert tuple(words[: len(leaf.path)]) == leaf.path, leaf
        leaf.command.make_context(leaf.path[-1], words[len(leaf.path) :])  # raises what click's parser finds


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
def test_what_answers_takes_json(leaf: Leaf) -> None:
    """Catches an answer that programs can't read, and a daemon that pretends to give one."""
    names = {name for option in leaf.options for name in option.opts}
    assert ("--json" in names) == (str(leaf) not in DAEMONS), leaf


@pytest.mark.parametrize("program", PROGRAMS)
def test_commands_stand_in_panels_by_what_they_are_for(program: str) -> None:
    """Catches a command that was added to no panel, and so stands in a list of its own."""
    shown = CliRunner().invoke(PROGRAMS[program], ["--help"], env={"COLUMNS": "100"}).stdout
    assert "─ Commands ─" not in shown
    panels = re.findall(r"─ (.+?) ─+╮", shown)
    assert len(panels) >= 3


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_needs_no_torch(program: str) -> None:
    """Catches an import at the top of a command's file that makes each `--help` and each TAB wait for seconds."""
    code = (
        f"import sys; sys.argv = ['{program}', '--help']\n"
        "from importlib.metadata import entry_points\n"
        f"(found,) = entry_points(group='console_scripts', name='{program}')\n"
        "try:\n    found.load()()\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'transformers', 'scipy', 'dp_accounting', 'sqlalchemy', 'flwr'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "set()")
