"""docs/start.md, done as it says, in one shell: every command of the page, in its order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documented import ROOT, Command, claim

pytestmark = pytest.mark.e2e

COMMANDS = claim("docs/start.md", without=("make setup", ". .venv/bin/activate"))
PASSWORD = "a password of some length"


def line(command: Command) -> str:
    """What stands in for a person: who ends a page that runs until it is ended, on a port that is free, and types a password."""
    if command.arguments[:1] == ["serve"]:
        return f"timeout --signal=INT --preserve-status 15 {command.text} --port 0"
    if command.arguments[:1] == ["users"]:
        return f"{command.text} --password-file - <<< '{PASSWORD}'"
    return command.text


def test_a_consortium_is_trained_looked_at_and_audited(tmp_path: Path) -> None:
    """Catches a first page that ends in an error, or in books with which something is wrong."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",  # as `activate` does
        "PYTHONPATH": str(ROOT),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    script = "\n".join(("set -ex", *(line(command) for command in COMMANDS)))
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "valid: nothing was found; 1 of 1 rounds recomputed" in done.stdout
    for told in (
        "the page serves: its address is in",
        "added cora, coordinator",
        "the page is at http://127.0.0.1:",
    ):
        assert told in done.stdout
    made = tmp_path / "build" / "five-minutes"
    result = json.loads((made / "result.json").read_text())
    assert [row["contributors"] for row in result["rounds"]] == [3]
    assert (made / "federation" / "report.html").stat().st_size > 0
