from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from demo.processes import Child, Processes, start_agent, start_courier, start_superlink, wait_for_agent
from tests.contract import postgresql
from tests.e2e.federation import Federation, build


@dataclass
class Running:
    """A federation whose programs run; tests may kill and restart them, and leave them running."""

    federation: Federation
    processes: Processes
    superlink: Child
    agents: dict[str, Child]
    couriers: dict[str, Child]

    def restart_superlink(self) -> None:
        home = self.federation.consortium
        self.superlink = start_superlink(self.processes, home.folder, home.port)

    def restart_agent(self, name: str) -> None:
        home = self.federation.hospitals[name]
        self.agents[name] = start_agent(self.processes, home)
        wait_for_agent(home, self.agents[name])

    def restart_couriers(self) -> None:
        self.processes.stop(*self.couriers.values())
        for name, home in self.federation.hospitals.items():
            self.couriers[name] = start_courier(self.processes, home)


def until(happened: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Wait until it has happened; fails, saying `what` never did."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def database() -> Iterator[postgresql.Server]:
    """The PostgreSQL of north's database team."""
    server = postgresql.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, database: postgresql.Server) -> Iterator[Running]:
    """Two hospitals and the consortium's evaluator, all started.

    North keeps its ledger in PostgreSQL, the others in a file; south has no detection labels.
    """
    federation = build(
        tmp_path_factory.mktemp("e2e"),
        evaluator=True,
        without={"south": "detection"},
        ledgers={"north": database.create("north")},
    )
    with started(federation) as programs:
        yield programs


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three hospitals that offer distributed trust and know each other's keys, all started."""
    with started(build(tmp_path_factory.mktemp("sharing"), sharing=True)) as programs:
        yield programs


@contextmanager
def started(federation: Federation, within: Mapping[str, Sequence[str]] | None = None) -> Iterator[Running]:
    """Every agent, the SuperLink and every courier, some of these `within` what another command makes."""
    homes = federation.hospitals
    with Processes(federation.folder / "logs") as processes:
        agents = {name: start_agent(processes, home) for name, home in homes.items()}
        superlink = start_superlink(processes, federation.consortium.folder, federation.consortium.port)
        for name, child in agents.items():
            wait_for_agent(homes[name], child)
        couriers = {
            name: start_courier(processes, home, (within or {}).get(name, ())) for name, home in homes.items()
        }
        yield Running(federation, processes, superlink, agents, couriers)
