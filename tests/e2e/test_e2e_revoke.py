"""Flower's SuperLink itself forgets the node of a hospital that is revoked, whether it runs then or later."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

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
    """Catches a node that stays known: whoever holds its key could go on connecting. And a certificate that a renewal,
    or a change of authority, made unfit for the SuperLink or for the commands that reach it.
    """
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
        for what in (Renewal.AUTHORITY, Renewal.SWITCH, Renewal.SERVER):
            renew(home, what, datetime.now(UTC))
        link = start_superlink(processes, home.folder, home.port)
        wait_until(lambda: _nodes(home).get("south") == "unregistered", link, 120)
