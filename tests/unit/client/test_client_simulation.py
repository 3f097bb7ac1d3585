"""Agents inside the simulation engine's processes: opened when they are asked, and not all kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import simulation
from client.home import Home


class Opened:
    """In an agent's place."""

    alive: int = 0

    def __init__(self, home: Home, network: object) -> None:
        self.folder = home.folder
        Opened.alive += 1

    def __del__(self) -> None:
        Opened.alive -= 1


def test_a_process_keeps_the_agents_that_were_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches fifty bases in the memory of each process, and an agent that is opened anew for every message."""
    monkeypatch.setattr(simulation, "Agent", Opened)
    monkeypatch.setattr(simulation, "_OPENED", {})
    monkeypatch.setattr(simulation, "AGENTS", 2)
    one, two, three = (Home(Path(name)) for name in ("one", "two", "three"))
    first, second = simulation._opened(one), simulation._opened(two)
    assert simulation._opened(one) is first
    simulation._opened(three)
    assert simulation._opened(one) is first, "two was asked longest ago"
    assert simulation._opened(two) is not second
    del first, second
    assert Opened.alive == 2
