"""The stacks as plain processes: what the compose file says is what is started, and all of it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.home import Home, Settings, create
from compose.without_containers import StackError, filled_in, services
from demo.cohort import MANIFEST, SITES, Cohort, write_cohort
from demo.enrol import enrol
from demo.processes import ROOT, status_of
from server.home import Home as Consortium
from server.loopback import free_port
from tests.documented import claim

(SETTINGS,) = claim("docs/howto/deploy.md", "set")
(START,) = claim("docs/howto/deploy.md", ".venv/bin/python", without=(".venv/bin/python -m pip",))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${HOME_}/socket", "/h/socket"),
        ("${HOME_:?the home}", "/h"),
        ("${NONE:-1}", "1"),
        ("${EMPTY:-1}", "1"),
        ("${HOME_:-1}", "/h"),
        ("$${HOME_}", "${HOME_}"),
    ],
)
def test_variables_mean_what_compose_takes_them_for(text: str, value: str) -> None:
    """Catches a plain process that is started on another path than the container would be."""
    assert filled_in(text, {"HOME_": "/h", "EMPTY": ""}) == value


@pytest.mark.parametrize("text", ["${NONE}", "${NONE:?the home}", "${EMPTY:?the home}"])
def test_a_variable_that_is_not_set_is_named(text: str) -> None:
    """Catches an agent that is started on the folder "" or "/"."""
    with pytest.raises(StackError, match="is not set"):
        filled_in(text, {"EMPTY": ""})


def test_services_come_in_the_order_of_the_file() -> None:
    """Catches a campaign that is started unasked, or before its SuperLink answers."""
    variables = {"FEDPATH_HOME": "/h", "FEDPATH_CAMPAIGNS": "/c"}
    file = ROOT / "compose" / "coordinator.yaml"
    assert [service.name for service in services(file, [], variables)] == ["superlink"]
    superlink, campaign = services(file, ["campaign"], variables)
    assert (superlink.name, campaign.name) == ("superlink", "campaign")
    assert campaign.waits_for == ("superlink",)
    assert superlink.health[1:] == ("reach", "/h")
    assert campaign.command[1:] == ("run", "/h", "/c/campaign.toml")
    assert (superlink.restart, superlink.grace) == ("unless-stopped", 60.0)
    with pytest.raises(StackError, match="no service dashboard"):
        services(file, ["dashboard"], variables)


@pytest.fixture
def hospital(tmp_path: Path, tiny_base: Path) -> Home:
    """A joined hospital's home, with a few slides."""
    data = tmp_path / "data"
    write_cohort(Cohort(data, (SITES[0],), 3, 3, 1), 1, lambda done, of: None)
    home = create(tmp_path / "home", Settings("north", data / "slides", data / MANIFEST, tiny_base))
    consortium = Consortium.create(tmp_path / "consortium", "test", "127.0.0.1", free_port())
    enrol(consortium, home)
    return home


@pytest.fixture
def stack(hospital: Home, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The hospital's stack, as plain processes, started as docs/howto/deploy.md says."""
    variables = {
        "FEDPATH_HOME": str(hospital.folder),
        "FEDPATH_SLIDES": str(hospital.settings.slides),
        "FEDPATH_LABELS": str(tmp_path / "data"),
        "FEDPATH_BASE": str(hospital.settings.base),
        "PYTHONPATH": str(ROOT),  # this checkout, whichever is installed
    }
    (tmp_path / "compose").symlink_to(ROOT / "compose")
    (tmp_path / "hospital.env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    script = f"{SETTINGS.text}\n{START.text.replace('.venv/bin/python', f'exec {sys.executable}')}"
    process = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(120)


def test_a_hospitals_stack_starts_is_mended_and_ends(
    stack: subprocess.Popen[str], hospital: Home, tmp_path: Path
) -> None:
    """Catches an agent that does not serve or stays dead, logs that others can read, and processes left behind."""
    assert _status(hospital)["hospital"] == "north"
    logs = sorted((tmp_path / "logs").iterdir())
    assert [log.name for log in logs] == ["agent.log", "courier.log"]
    assert {stat.S_IMODE(log.stat().st_mode) for log in logs} == {0o600}
    (agent,) = _processes(stack, "agent")
    os.kill(agent, signal.SIGKILL)
    _until(lambda: _processes(stack, "agent") not in ([], [agent]), "the agent is started again")
    _status(hospital)
    stack.send_signal(signal.SIGTERM)
    said = stack.communicate(timeout=120)[0].splitlines()
    assert stack.returncode == 0
    assert [line for line in said if line.endswith("stopped")] == ["courier stopped", "agent stopped"]
    assert any("agent ended with status -9; it is started again" in line for line in said)
    _until(lambda: _left(hospital) == [], "nothing of the hospital's runs any more")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_its_starter(
    stack: subprocess.Popen[str], hospital: Home, number: signal.Signals
) -> None:
    """Catches an agent that goes on, holding the home, after Ctrl-C or a death of what started it."""
    _until(lambda: bool(_left(hospital)), "the stack runs")
    stack.send_signal(number)
    stack.communicate(timeout=120)
    _until(lambda: _left(hospital) == [], "nothing of the hospital's runs any more")


def _status(home: Home) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    _until(lambda: bool(found.extend([now] if (now := status_of(home)) else []) or found), "the agent serves")
    return json.loads(json.dumps(found[0]))


def _until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 240
    while not true():
        assert time.monotonic() < end, f"not so after 240 s: {what}"
        time.sleep(0.2)


def _processes(stack: subprocess.Popen[str], service: str) -> list[int]:
    """The children of the script that run this service."""
    found = Path(f"/proc/{stack.pid}/task/{stack.pid}/children").read_text().split()
    return [int(pid) for pid in found if f"\0{service}\0" in _command(Path("/proc") / pid)]


def _left(home: Home) -> list[int]:
    """Processes that were started for this home."""
    own = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [
        int(path.name)
        for path in own
        if f"\0{home.folder}\0" in _command(path) and "without" not in _command(path)
    ]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""  # it ended meanwhile
