"""docs/howto/run-a-campaign.md, done as it says, on a federation that runs: every command of the page, in its order."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import ROOT
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]

PAGE = ROOT / "docs" / "howto" / "run-a-campaign.md"
STARTED = "fedpath-consortium start consortium"  # by the fixture, with agents and couriers


def test_every_command_of_the_page_does_what_it_says(running: Running) -> None:
    """Catches a page that tells of a command, option, file or order that is not so."""
    campaign = running.federation.campaign("summer", evaluate="stages", sft_rounds=2)
    campaign.write_text("keep_releases = true\n" + campaign.read_text())
    lines = re.findall(r"^    (\S.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert lines[0] == STARTED
    for line in lines[1:]:
        program, *arguments = shlex.split(line)
        done = subprocess.run(
            [str(Path(sys.prefix) / "bin" / program), *arguments],
            cwd=running.federation.folder,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    assert running.federation.status("summer")["state"] == "done"
    assert {row["point"] for row in running.federation.status("summer")["evaluations"]} == {
        "base",
        "sft",
        "grpo",
        "round-1",
    }
    assert (running.federation.folder / "summer-experts").is_dir()
