"""The demo itself, very small: killed after its first round, started again, ended; and what it then says."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo.__main__ import run
from demo.house import CAMPAIGN, open_house
from demo.processes import ROOT
from demo.recipe import DELTA, DEMO, Recipe, events
from privacy import keys
from privacy.accounting import epsilon
from privacy.ledger.database import Database
from privacy.ledger.reading import read
from server.home import Home as Consortium
from server.status import status

pytestmark = [pytest.mark.nightly, pytest.mark.e2e, pytest.mark.timeout(900)]

START = (
    "import sys; from pathlib import Path; from rich.console import Console; from demo.__main__ import run; "
    "from tests.e2e.test_e2e_demo import small; run(Path(sys.argv[1]), small(), Console())"
)


def small() -> Recipe:
    """Ten patients a hospital, two rounds of SFT and one of GRPO, two steps each."""
    stages = tuple(
        replace(stage, rounds=rounds, mechanism=replace(stage.mechanism, steps=2))
        for stage, rounds in zip(DEMO.stages, (2, 1), strict=True)
    )
    return replace(DEMO, patients=10, public_patients=2, stages=stages)


def committed(out: Path) -> int:
    """Rounds that the consortium of a demo in `out` has committed."""
    home = out / "federation" / "consortium"
    if not (out / "federation" / "stamp.json").exists():
        return 0
    campaigns: list[dict[str, Any]] = status(Consortium.open(home))["campaigns"]
    return next((int(c["rounds_committed"]) for c in campaigns if c["name"] == CAMPAIGN), 0)


def test_a_demo_that_was_killed_goes_on_and_pays_nothing_twice(tmp_path: Path) -> None:
    """Catches a second `make demo` that starts anew, is blocked by what the first left, or spends a round again."""
    first = subprocess.Popen([sys.executable, "-c", START, str(tmp_path)], cwd=ROOT, start_new_session=True)
    end = time.monotonic() + 400
    while committed(tmp_path) == 0:
        assert first.poll() is None, "the first demo ended by itself"
        assert time.monotonic() < end, "no round was committed"
        time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = committed(tmp_path)
    assert before < 3, "killed too late to show anything"

    console = Console(record=True, quiet=False, file=(tmp_path / "screen.txt").open("w"))
    result = run(tmp_path, small(), console)

    assert (
        f"going on with the interrupted federation after {before} committed rounds" in console.export_text()
    )
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert [found["round"] for found in result["rounds"]] == [1, 2, 3]
    # A hospital whose node was not taken back in time may lack a round, whichever; none is ever paid twice:
    # reading a ledger that spends a round a second time raises.
    paid_for = events(small())
    homes = open_house(tmp_path / "federation").hospitals
    for home, hospital in zip(homes, result["hospitals"], strict=True):
        _, account = read(Database(home.ledger, read_only=True), keys.load(home.release_key).public)
        paid = {number for _, number, _ in account.spent}
        given = {found["round"] for found in result["rounds"] if hospital["name"] in found["accepted"]}
        assert given <= paid
        due = epsilon([paid_for[number - 1] for number in paid], DELTA)
        assert hospital["epsilon"] == pytest.approx(due)
    assert all(len(found["accepted"]) >= 2 for found in result["rounds"])
    assert {(row["scale"], row["task"]) for row in result["rows"]} == {
        *(("roi", task) for task in ("classification", "detection", "segmentation", "vqa")),
        *(("wsi", task) for task in ("classification", "vqa")),
    }
    coast = [found["accepted"].get("coast", 0) for found in result["rounds"]]
    assert set(coast[:2]) <= {0, 3}  # both scale experts and the router
    assert coast[2] in (0, 3)  # all task experts but detection
    assert "<svg" in (tmp_path / "report.html").read_text()
