"""Progress on a terminal, and nothing of it elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import app
from privacy.command_line import Exit
from tests.audit_books import World
from tests.documented import ROOT
from tests.documented import commands as documented

WORK = (
    "from privacy.command_line import progress\n"
    "with progress() as tell:\n"
    "    for done in range(3): tell('slides\\x1b[31m looked at', done, 3)\n"
    "print('answer')"
)


def on_a_terminal(command: list[str]) -> tuple[str, str]:
    """Standard output, and what a terminal at standard error was sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, text=True) as child:
        os.close(theirs)
        assert child.stdout is not None
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:  # the other end is closed
            pass
        output = child.stdout.read()
        assert child.wait(60) == 0
    os.close(ours)
    return output, said.decode()


def test_a_terminal_is_shown_how_far_it_is() -> None:
    """Catches a bar that is never drawn, one on standard output, and names of files that steer the terminal."""
    output, said = on_a_terminal([sys.executable, "-c", WORK])
    assert output == "answer\n"
    assert "looked at" in said
    assert "\x1b[31m looked" not in said


def test_a_pipe_is_shown_nothing() -> None:
    """Catches control letters in a log, and a bar in what a program reads."""
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("answer\n", "")


def test_an_audit_that_takes_long_says_so(tmp_path: Path) -> None:
    """Catches a command whose work is shown to nobody; by `verify`, which recomputes for half a second a round."""
    world = World.create(tmp_path)
    world.live()
    words = ["verify", *map(str, world.exports().values())]
    for name, (_, key) in world.hospitals.items():
        (tmp_path / f"{name}.pub").write_bytes(key.public.to_pem())
        words += ["--key", str(tmp_path / f"{name}.pub")]
    (tmp_path / "c.pub").write_bytes(world.home.coordinator().public.to_pem())
    words += ["--coordinator", str(tmp_path / "c.pub")]
    _, said = on_a_terminal([sys.executable, "-c", "from auditor.cli import app; app()", *words])
    assert "histories recomputed" in said
    quiet = CliRunner().invoke(app, [*words, "--json"])
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_the_page_has_every_exit_status() -> None:
    """Catches a status that a program ends with and the page does not know."""
    rows = [
        line.split("|")[1].strip()
        for line in (ROOT / "docs/cli.md").read_text().splitlines()
        if line[:2] == "| "
    ]
    assert {"0", *(str(int(status)) for status in Exit)} <= set(rows)


def test_every_command_that_the_page_shows_is_there() -> None:
    """Catches a page that lost its commands."""
    assert len(documented("docs/cli.md")) == 6


@pytest.mark.parametrize("words", [["verify"], ["nothing"], ["plan", "--steps", "many"]], ids=" ".join)
def test_a_wrong_command_line_ends_with_2(words: list[str]) -> None:
    """Catches a status of success, or one that says that something was found."""
    assert CliRunner().invoke(app, words).exit_code == Exit.NOT_DONE
