"""Keeping a SuperLink: a real process in its place, and Flower's registration, which e2e tests see, replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from privacy import keys
from privacy.events import Event, Name
from server import keeper, superlink
from server.errors import SuperLinkError
from server.events import NodeKnown, NodesNotBroughtUpToDate
from server.home import Home
from server.loopback import accepts, free_port
from server.records import Hospital

LISTENER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        listener.accept()[0].close()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with one hospital enrolled, whose SuperLink is a process that only listens."""
    made = Home.create(tmp_path / "home", "consortium", "127.0.0.1", free_port())
    north = Hospital("north", keys.generate(tmp_path / "a.key").public, b"node north", evaluator=False)
    made.store().enrol(north)
    command = [sys.executable, "-c", LISTENER, str(made.port)]
    monkeypatch.setattr(superlink, "superlink_command", lambda home: command)
    monkeypatch.setattr(keeper, "_WATCH_S", 0.05)
    return made


def test_the_superlink_ends_with_whoever_keeps_it(home: Home) -> None:
    """Catches a SuperLink that goes on, with the port, after the command that keeps it has failed."""
    with pytest.raises(ZeroDivisionError), keeper.started(home, {}) as link:
        1 / 0  # noqa: B018
    assert link.returncode is not None
    assert not accepts(home.port)


def test_a_taken_port_is_told(home: Home) -> None:
    """Catches two SuperLinks over one database, of which one answers."""
    listener = subprocess.Popen([sys.executable, "-c", LISTENER, str(home.port)])
    try:
        while not accepts(home.port):
            assert listener.poll() is None
        with (
            pytest.raises(SuperLinkError, match=r"is taken: is a SuperLink running already"),
            keeper.started(home, {}),
        ):
            pass
    finally:
        listener.kill()
        listener.wait()


def test_a_node_that_can_not_be_made_known_is_tried_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches one hospital's trouble that ends the SuperLink for all, or that is told over and over, or never."""
    told: list[Event] = []
    tried = 0

    def register(home: Home, hospitals: list[Hospital]) -> None:
        nonlocal tried
        tried += 1
        if tried < 4:
            raise SuperLinkError("north's node could not be registered: busy")

    monkeypatch.setattr(superlink, "register_all", register)
    with keeper.started(home, {}) as link:

        def tell(event: Event) -> None:
            told.append(event)
            if isinstance(event, NodeKnown):
                link.terminate()

        monkeypatch.setattr(keeper, "tell", tell)
        keeper.keep(home, home.store(), link, lambda: None, lambda: None)
    trouble, known = told
    assert isinstance(trouble, NodesNotBroughtUpToDate)
    assert f"{trouble.incident}: not up to date, and tried again: north's node" in caplog.text
    assert known == NodeKnown(Name("north"))
