"""docs/howto/run-a-campaign.md, done as it says, on a federation that runs: every command of the page, in its order; then
what other pages do with a campaign that was run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import ROOT
from tests.documented import Command, claim
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]

COMMANDS = claim("docs/howto/run-a-campaign.md")
AUDITED = claim("docs/audit.md")
SCORED = claim("docs/howto/evaluate.md", "fedpath-consortium")
STARTED = "fedpath-consortium start consortium"  # by the fixture, with agents and couriers


def test_every_command_of_the_page_does_what_it_says(running: Running) -> None:
    """Catches a page that tells of a command, option, file or order that is not so."""
    campaign = running.federation.campaign("summer", evaluate="stages", sft_rounds=2)
    text = campaign.read_text().replace('initial = "initial"', 'initial = "first-states"')
    campaign.write_text("keep_releases = true\n" + text)
    assert [command.text for command in COMMANDS].count(STARTED) == 1
    for command in COMMANDS:
        if command.text != STARTED:
            do(command, running.federation.folder)
    assert running.federation.status("summer")["state"] == "done"
    assert {row["point"] for row in running.federation.status("summer")["evaluations"]} == {
        "base",
        "sft",
        "grpo",
        "round-1",
    }
    assert (running.federation.folder / "summer-experts").is_dir()


def test_what_was_run_is_audited_and_scored_as_the_pages_say(running: Running, tmp_path: Path) -> None:
    """Catches a page whose commands are not those of a campaign that was run."""
    federation = running.federation
    campaign = federation.campaign("autumn", sft_rounds=6)
    done = federation.command("run", str(federation.consortium.folder), str(campaign))
    assert done.returncode == 0, done.stdout + done.stderr
    places = {
        "campaign.toml": str(campaign),
        "BASE": str(federation.hospitals["north"].settings.base),
        "keys/coordinator.key.pub": str(federation.consortium.folder / "keys" / "coordinator.key.pub"),
    }
    for command in (*AUDITED, *SCORED):
        side = (
            federation.consortium
            if command.program == "fedpath-consortium"
            else federation.hospitals["north"]
        )
        do(command, tmp_path, {**places, "HOME": str(side.folder)})
        if command.words[-1] == "journal.jsonl":  # the page exports it twice, on two occasions
            (tmp_path / "journal.jsonl").unlink()


def do(command: Command, folder: Path, places: dict[str, str] | None = None) -> None:
    """Run one command in `folder`, with `places` for some of its words; fails where it does."""
    program, *arguments = command.words
    done = subprocess.run(
        [str(Path(sys.prefix) / "bin" / program), *((places or {}).get(word, word) for word in arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
