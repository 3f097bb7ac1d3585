"""`--version` of each program, as docs/cli.md shows it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.installation import installed
from privacy import code_hash
from privacy.command_line import Exit
from privacy.errors import PrivacyError
from tests.documented import ROOT, claim
from tests.unit.command_line.programs import PROGRAMS

(SHOWN,) = claim(
    "docs/cli.md",
    "fedpath-hospital",
    without=("fedpath-hospital --install", "fedpath-hospital check", "fedpath-hospital budget"),
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_program_says_what_is_installed(name: str) -> None:
    """Catches a version that a report of a weakness can't name, and a hash that is not the one in ledgers."""
    done = CliRunner().invoke(PROGRAMS[name], ["--version"])
    here = installed()
    assert (done.exit_code, done.stdout) == (0, f"FedPath {here.version}, code {here.code}\n")
    assert "--version" in CliRunner().invoke(PROGRAMS[name], ["--help"]).stdout


def test_the_page_shows_it_and_it_needs_no_torch() -> None:
    """Catches a page's command that is none, a version that is not pyproject's, and a wait of seconds for one line."""
    program = Path(sys.executable).parent / SHOWN.words[0]
    code = (
        f"import runpy, sys\nsys.argv = {[str(program), *SHOWN.arguments]!r}\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\nexcept SystemExit as end:\n    assert not end.code\n"
        "print({'torch', 'flwr', 'sqlalchemy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout.startswith(f"FedPath {version}, code ")


def test_a_part_of_an_installation_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback where the code can't be hashed."""

    def missing() -> str:
        raise PrivacyError("package 'client' is not installed here: install fedpath in full")

    monkeypatch.setattr(code_hash, "code_hash", missing)
    done = CliRunner().invoke(PROGRAMS["fedpath-audit"], ["--version"])
    assert (done.exit_code, done.stdout) == (Exit.NOT_DONE, "")
    assert done.stderr.startswith("error: package 'client'")
