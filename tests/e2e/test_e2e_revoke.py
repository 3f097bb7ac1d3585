"""Flower's own programs: the SuperLink forgets a revoked node, and a SuperNode connects through a change of authority."""

from __future__ import annotations

import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.courier import _command, _environment
from client.enrolment import join
from client.home import Home as Hospital
from client.home import Settings, create
from demo.enrol import enrol
from demo.processes import Processes, start_superlink, wait_until
from server.home import Home
from server.loopback import free_port
from server.provision.renew import Renewal, renew

pytestmark = pytest.mark.e2e


def _hospital(folder: Path, name: str) -> Hospital:
    return create(folder / name, Settings(name, folder, folder / "m.csv", folder))


def _nodes(home: Home) -> dict[str, str]:
    """Status by name, as the SuperLink has it."""
    path = home.folder / "flower" / "superlink.db"
    try:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as database:
            return dict(database.execute("SELECT name, status FROM node").fetchall())
    except sqlite3.Error:
        return {}


def test_the_superlink_forgets_a_revoked_node(tmp_path: Path) -> None:
    """Catches a node that stays known: whoever holds its key could go on connecting."""
    home = Home.create(tmp_path / "consortium", "rhine", "127.0.0.1", free_port())
    for name in ("north", "south"):
        enrol(home, _hospital(tmp_path, name))
    with Processes(tmp_path / "logs") as processes:
        link = start_superlink(processes, home.folder, home.port)
        wait_until(lambda: _nodes(home) == {"north": "registered", "south": "registered"}, link, 120)
        home.store().revoke("north", "left")
        wait_until(lambda: _nodes(home).get("north") == "unregistered", link, 120)
        processes.stop(link)
        home.store().revoke("south", "left")
        link = start_superlink(processes, home.folder, home.port)
        wait_until(lambda: _nodes(home).get("south") == "unregistered", link, 120)


def test_a_supernode_connects_before_and_after_a_change_of_authority(tmp_path: Path) -> None:
    """Catches a file of two roots that Flower reads the first of, and a certificate that its programs don't take."""
    home = Home.create(tmp_path / "consortium", "rhine", "127.0.0.1", free_port())
    north = _hospital(tmp_path, "north")
    enrol(home, north)
    renew(home, Renewal.AUTHORITY, datetime.now(UTC))
    join(north, home.folder / "kits" / "north.json", datetime.now(UTC))
    with Processes(tmp_path / "logs") as processes:
        for what in (None, Renewal.SWITCH):
            if what is not None:
                renew(home, what, datetime.now(UTC))
            link = start_superlink(processes, home.folder, home.port)
            wait_until(lambda: "north" in _nodes(home), link, 120)
            log = (tmp_path / "logs" / f"supernode-{what}.log").open("wb")
            node = subprocess.Popen(  # as the courier starts it, unconfined
                _command(north, north.kit.superlink), env=_environment(north), stdout=log, stderr=log
            )
            try:
                wait_until(lambda: _nodes(home)["north"] == "online", link, 120)
            finally:
                node.terminate()
                node.wait(30)
                processes.stop(link)
            with sqlite3.connect(home.folder / "flower" / "superlink.db") as database:
                database.execute("UPDATE node SET status = 'offline', online_until = 0")
