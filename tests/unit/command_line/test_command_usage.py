"""What is said of a command line that is wrong, and how a program ends that is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from privacy.command_line import Exit, command, program
from server.home import Home
from server.loopback import free_port
from tests.unit.command_line.programs import PROGRAMS

WRONG = {
    ("fedpath-hospital", "check"): "missing argument 'HOME'. `fedpath-hospital check --help`",
    ("fedpath-hospital", "check --nope x"): "no such option '--nope'. `fedpath-hospital check --help`",
    ("fedpath-hospital", "chek"): "no such command 'chek'. Did you mean 'check'? `fedpath-hospital --help`",
    ("fedpath-hospital", "import coca"): "Did you mean 'coco'? `fedpath-hospital import --help`",
    ("fedpath-hospital", "agent x --gpus 0"): "0 is not in the range x>=1. `fedpath-hospital agent --help`",
    ("fedpath-consortium", "status a b c"): "extra arguments (b c). `fedpath-consortium status --help`",
    ("fedpath-consortium", "users add a b --role king"): "'king' is not one of 'read-only', 'auditor'",
    ("fedpath-audit", "plan --steps many"): "'many' is not a valid integer. `fedpath-audit plan --help`",
    ("fedpath-audit", "report x"): "missing option '--out'. `fedpath-audit report --help`",
    ("fedpath-audit", "verify\x1b[31m"): "no such command '",
}


@pytest.mark.parametrize("asked", WRONG, ids=" ".join)
def test_a_wrong_command_line_is_told_in_one_line(asked: tuple[str, str]) -> None:
    """Catches a box instead of `error:`, a hint that stands there twice, and a terminal that is written to by an argument."""
    done = CliRunner().invoke(PROGRAMS[asked[0]], asked[1].split(" "), env={"COLUMNS": "60"})
    assert (done.exit_code, done.stdout) == (Exit.NOT_DONE, "")
    assert done.stderr.startswith("error: ")
    assert WRONG[asked] in done.stderr
    assert done.stderr.endswith(" --help` says how it is used\n")
    assert done.stderr.count("\n") == 1
    assert done.stderr.count("Did you mean") <= 1
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_without_a_command_shows_its_help(name: str) -> None:
    """Catches an error that leaves who types the bare name without the list of commands."""
    done = CliRunner().invoke(PROGRAMS[name], [])
    assert done.exit_code == Exit.NOT_DONE
    assert "--help" in done.stdout
    assert "error:" not in done.output


def asking(interrupted: bool) -> typer.Typer:
    """A program that asks a question."""

    def ask() -> None:
        """Ask."""
        if interrupted:
            raise KeyboardInterrupt
        typer.prompt("Which")

    return program("x", "x", {"Panel": (command(ask, "ask"), command(asking, "other", name="other"))})


def test_a_question_that_nobody_answers_is_an_error() -> None:
    """Catches a command that found nobody to answer it and tells a script of a finding, or of nothing."""
    done = CliRunner().invoke(asking(False), ["ask"], input="")
    assert (done.exit_code, done.stderr.splitlines()[-1][:6]) == (Exit.NOT_DONE, "error:")
    done = CliRunner().invoke(asking(True), ["ask"])
    assert (done.exit_code, done.stderr) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_service_that_is_told_to_end_has_done_well(number: signal.Signals, tmp_path: Path) -> None:
    """Catches a status by which whoever keeps a service running would count its wanted end as a failure."""
    home = Home.create(tmp_path / "consortium", "test", "127.0.0.1", free_port())
    code = "from server.cli import app; app()"
    served = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(home.folder), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert served.stdout is not None
    assert served.stdout.readline().startswith("the page is at")
    served.send_signal(number)
    assert served.wait(60) == 0
    served.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_cut_short_ends_with_its_signal(number: signal.Signals) -> None:
    """Catches a half-done command that reports success; `-n` is how Popen tells of a signal that a shell calls 128 + n."""
    code = (
        "import signal, time\nfrom privacy.command_line import command, program\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a test run in the background ignores it
        "def work() -> None:\n    'w'\n    print('up', flush=True)\n    time.sleep(60)\n"
        "def rest() -> None:\n    'r'\n"
        "program('x', 'x', {'P': (command(work, 'work'), command(rest, 'rest'))})()"
    )
    working = subprocess.Popen([sys.executable, "-c", code, "work"], stdout=subprocess.PIPE, text=True)
    assert working.stdout is not None
    assert working.stdout.readline() == "up\n"
    working.send_signal(number)
    assert working.wait(60) in (128 + number, -number)
    working.stdout.close()
