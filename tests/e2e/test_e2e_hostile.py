"""A coordinator that turns hostile: its bundle runs in the courier, and looks for slides, keys and ledger there."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from client.home import Home
from demo.processes import status_of, wait_until
from server import superlink
from server.flower_cli import CONNECTION
from tests.contract import postgresql
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("two hospitals")]

FLOODED = 512 << 20  # bytes; the flood has a GiB on its way at once
HOSTILE = Path(__file__).parent / "hostile"
PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "hostile"
version = "0.1.0"
description = "A bundle that attacks the hospital"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "hostile"
fab-include = ["*.py"]
[tool.flwr.app.components]
serverapp = "coordinator:app"
clientapp = "courier:app"
[tool.flwr.app.config]
home = ""
campaign = ""
"""


def _known(home: Home, agent: int, database: postgresql.Server) -> dict[str, Any]:
    """All that an insider could tell the bundle."""
    settings = home.settings
    files = [path for path in home.folder.rglob("*") if path.is_file() and home.courier not in path.parents]
    files += [settings.manifest, *settings.slides.iterdir(), settings.base / "model.safetensors"]
    return {
        "files": [str(path) for path in files],
        "status_socket": str(home.status_socket),
        "databases": [str(database.folder / ".s.PGSQL.5432")],
        "pids": [agent],
        "code": [*sys.path, sys.prefix, sys.base_prefix],
    }


def test_a_hostile_bundle_reaches_nothing(
    running: Running, database: postgresql.Server, tmp_path: Path
) -> None:
    """Catches a courier that can read slides, keys, ledger, policy or settings, reach the agent other than through
    its own methods, fill its memory, write to the hospital's installation, or become more than it is."""
    homes = running.federation.hospitals
    reports = [home.courier_report.read_text() for home in homes.values()]
    if any(not report.startswith("own file system") for report in reports):
        pytest.skip(f"this machine allows no namespaces, and the courier says so: {reports[0]}")
    shutil.copytree(HOSTILE, tmp_path / "bundle")
    (tmp_path / "bundle" / "pyproject.toml").write_text(PYPROJECT)
    known = {name: _known(home, running.agents[name].process.pid, database) for name, home in homes.items()}
    (tmp_path / "known.json").write_text(json.dumps(known))
    pids = {name: running.agents[name].process.pid for name in homes}
    before = {
        name: max(_most(pid), psutil.Process(pid).memory_info().rss + FLOODED) for name, pid in pids.items()
    }
    out = tmp_path / "found.json"
    consortium = running.federation.consortium
    file = tmp_path / "run.toml"
    file.write_text(f"home = {json.dumps(str(tmp_path / 'known.json'))}\ncampaign = {json.dumps(str(out))}\n")
    arguments = [
        "run",
        str(tmp_path / "bundle"),
        CONNECTION,
        "--run-config",
        str(file),
        "--format",
        "json",
    ]
    values, said = superlink.flower(consortium).run(*arguments)
    assert values.get("success"), said
    wait_until(out.exists, running.superlink, 300)
    found = json.loads(out.read_text())
    assert set(found) == set(homes)
    for name, findings in found.items():
        assert str(findings.pop("take_the_agents_place")).startswith("failed: "), name
        assert findings == {attack: [] for attack in findings}, name
        assert len(findings) == 9
    for name, home in homes.items():
        status = status_of(home)
        assert status is not None, f"{name}'s agent was harmed"
        assert home.socket.is_socket()
        assert _most(pids[name]) < before[name], "a flood fills the agent's memory"


def _most(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    (line,) = (
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024


def test_the_attacks_work_where_nothing_is_in_their_way(
    running: Running, database: postgresql.Server
) -> None:
    """Catches attacks that find nothing because they look wrongly: here, unconfined, they must succeed."""
    home = running.federation.hospitals["north"]
    known = _known(home, running.agents["north"].process.pid, database)
    attacks = runpy.run_path(str(HOSTILE / "courier.py"))["ATTACKS"]
    socket = str(home.socket)
    assert attacks["read_known_files"](known, socket) == known["files"]
    assert attacks["read_through_other_processes"](known, socket)
    assert attacks["reach_the_ledgers_database"](known, socket) == known["databases"]
    assert known["pids"][0] in attacks["see_other_processes"](known, socket)
    assert '"phase"' in attacks["ask_the_agent_for_its_status"](known, socket)[0]
