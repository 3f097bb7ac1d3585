"""Completion as docs/cli.md has it installed, in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client import home as hospital_home
from client.asked_campaigns import AskedCampaigns
from server.campaign import Train, plan_for
from tests.audit_books import SPRING, World
from tests.documented import Command, claim

INSTALLS = claim(
    "docs/cli.md", without=("fedpath-hospital --version", "fedpath-hospital check", "fedpath-hospital budget")
)
SCRIPTS = Path(sys.executable).parent
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


def bash(script: str, home: Path) -> str:
    """What a bash prints whose user has `home`. The last command is not the only one: bash stays the parent of each."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ntrue"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def completed(program: str, words: list[str], home: Path) -> set[str]:
    """What TAB offers after these words, the last of them unfinished."""
    line = " ".join(f"'{word}'" for word in (program, *words))
    return set(
        bash(
            f"source {home}/.bash_completions/{program}.sh\n"
            f"COMP_WORDS=({line}); COMP_CWORD={len(words)}\n"
            f"$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/') {program}\n"
            'printf "%s\\n" "${COMPREPLY[@]}"',
            home,
        ).split()
    )


@pytest.mark.parametrize("command", INSTALLS, ids=str)
def test_it_is_installed_and_completes_commands(command: Command, tmp_path: Path) -> None:
    """Catches a program that has its completion switched off, or whose script bash can't read."""
    bash(command.text, tmp_path)
    offered = completed(command.program, [""], tmp_path)
    assert {"fedpath-hospital": "policy", "fedpath-consortium": "enroll", "fedpath-audit": "verify"}[
        command.program
    ] in offered
    assert completed(command.program, ["re"], tmp_path) <= {each for each in offered if each.startswith("re")}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_of_theirs(shell: str) -> None:
    """Catches a shell that is offered nothing."""
    done = subprocess.run(
        [SCRIPTS / "fedpath-hospital"],
        env={**os.environ, "_FEDPATH_HOSPITAL_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, "fedpath-hospital" in done.stdout) == (0, True)


def test_names_that_the_home_knows_are_completed(tmp_path: Path) -> None:
    """Catches a completion that offers nothing, or other names; and one that complains in mid-line, or makes a home."""
    bash("fedpath-hospital --install-completion\nfedpath-consortium --install-completion", tmp_path)
    world = World.create(tmp_path)
    consortium, hospital = str(world.home.folder), tmp_path / "hospital"
    hospital.mkdir()
    plan = plan_for(SPRING, Train(1, 1, SPRING.stages[0]), world.store.states("spring"))
    AskedCampaigns(hospital_home.Home(hospital).asked_campaigns).note(plan, datetime.now(UTC))
    for program, words, names in (
        ("fedpath-hospital", ["approve", str(hospital), ""], {"spring"}),
        ("fedpath-hospital", ["approve", str(hospital), "sum"], set()),
        ("fedpath-consortium", ["pause", consortium, ""], {"autumn", "spring"}),
        ("fedpath-consortium", ["track", consortium, "sp"], {"spring"}),
        ("fedpath-consortium", ["revoke", consortium, "n"], {"north"}),
        ("fedpath-consortium", ["pause", str(tmp_path / "gone"), ""], set()),
    ):
        assert completed(program, words, tmp_path) == names, (program, words)
    assert not (tmp_path / "gone").exists()
