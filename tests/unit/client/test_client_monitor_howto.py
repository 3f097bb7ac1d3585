"""docs/howto/monitor.md, done as it says: every command of the page, its example lines, and the figures in its tables."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app as hospital
from client.events import Phase, RequestRefused, WorkBegan
from demo.processes import ROOT
from privacy.codes import Refusal
from privacy.events import Digest, Name, Ordinal, line
from server.cli import app as consortium
from server.home import Home as Consortium
from server.loopback import free_port
from tests.documented import claim
from tests.unit.client import test_client_watch as watch
from tests.unit.client.conftest import House
from tests.unit.server import test_server_metrics

MakeHouse = Callable[..., House]
PAGE = (ROOT / "docs" / "howto" / "monitor.md").read_text("utf-8")
COMMANDS = claim("docs/howto/monitor.md")
APPS = {"fedpath-consortium": consortium, "fedpath-hospital": hospital}


def test_every_command_of_the_page_does_what_it_says(
    house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a page that tells of a command, an option or a file that is not so."""
    monkeypatch.chdir(tmp_path)
    place = house()
    Path("north").symlink_to(place.home.folder)
    Consortium.create(Path("consortium"), "rhine", "127.0.0.1", free_port())
    log = tmp_path / "log"
    with watch.running(place.home, log) as process:
        watch.until(lambda: watch.is_ready(place.home), process, log)
        watch.until(place.home.metrics.exists, process, log)
        for command in COMMANDS:
            program, *arguments = command.words
            if program in APPS:
                done = CliRunner().invoke(APPS[program], arguments)
                assert done.exit_code == 0, f"{command}: {done.output}"
                if "--json" in arguments:
                    json.loads(done.output)
            elif program == "grep":  # that incident was the page's
                assert Path(arguments[-1]).is_file()
            elif os.geteuid() == 0:
                subprocess.run([program, *arguments], check=True)
    if os.geteuid() == 0:
        assert place.home.metrics.parent.stat().st_mode & 0o7777 == 0o2750
        before = place.home.metrics.stat()
        with watch.running(place.home, log) as process:
            watch.until(lambda: place.home.metrics.stat().st_ino != before.st_ino, process, log)
        after = place.home.metrics.stat()
        assert (after.st_mode & 0o777, after.st_gid) == (0o640, place.home.metrics.parent.stat().st_gid)


def test_the_example_lines_are_lines_of_the_log() -> None:
    """Catches a page whose lines look otherwise than the program's."""
    events = (
        WorkBegan(Phase.TRAINING, Name("spring"), Ordinal(3)),
        RequestRefused(Refusal.BUDGET_EXHAUSTED, Digest("6f0c2ab1")),
    )
    shown = re.findall(r"^\{.*", PAGE, re.MULTILINE)
    assert len(shown) == len(events)
    for text, event in zip(shown, events, strict=True):
        assert line(event, datetime.fromisoformat(json.loads(text)["at"]), as_json=True) == text


def test_the_tables_have_every_figure_and_no_other() -> None:
    """Catches a figure that is not explained, and one that is not there."""
    explained = {
        name
        for row in re.findall(r"^\| (`fedpath_[^|]*) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert explained == watch.TOLD | test_server_metrics.TOLD
