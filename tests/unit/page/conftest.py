"""A consortium that has run a campaign in the simulator, its page, and users of every role."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from pages.serving import LOOPBACK, listen
from server.page.access.access import Access, users_of
from server.page.access.roles import Role
from server.page.app import page
from server.provision.kits import write_kits
from tests.federation.simulator import BASE, SimulatedClock
from tests.federation.test_rounds import CAMPAIGN, GRPO, SFT, World, world

PASSWORD = "a long enough one"
NAMES = {Role.READ_ONLY: "rae", Role.AUDITOR: "ada", Role.COORDINATOR: "cora"}


FILE = f"""
name = "spring"
seed = 7
base_hash = "{BASE}"
expert_rank = 2
expert_alpha = 4.0
initial = "experts"
quorum = 2
round_deadline_s = 120
evaluate = "never"

[[stage]]
kind = "sft"
rounds = 2
experts = ["scale/roi", "scale/wsi"]
learning_rate = 0.01
mechanism = {{ clip_norm = 1.0, noise_multiplier = 1.0, sampling_rate = 0.1, steps = 2, samples_per_patient = 4 }}
"""


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """The page of a world, without a network; `clock` is what sessions and attempts go by."""

    world: World
    access: Access
    clock: Clock

    def client(self, role: Role | None = None) -> TestClient:
        """A browser of a user of this role, or of nobody; it follows no redirect."""
        app = page(self.world.home, LOOPBACK, secure=False, access=self.access)
        client = TestClient(app, base_url="http://127.0.0.1:8787", follow_redirects=False)
        if role is not None:
            answer = client.post("/login", data={"name": NAMES[role], "password": PASSWORD, "next": "/"})
            assert answer.status_code == 303, answer.text
        return client

    def csrf(self, client: TestClient) -> str:
        """The token of this client's session."""
        visitor = self.access.visitor(client.cookies[self.access.cookie])
        assert visitor is not None
        return visitor.csrf


@pytest.fixture(scope="session")
def run_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two good hospitals, one that forges, an evaluator, three rounds of two stages; read only."""
    here = world(tmp_path_factory.mktemp("page"), "north", "south", "west", evaluator=True)
    set_back(here, 900)
    here.hospitals["west"].faults.forged = True
    here.run(replace(CAMPAIGN, stages=(SFT, GRPO), evaluate="stages"))
    furnish(here)
    return here


def set_back(here: World, seconds: float) -> None:
    """Let the world's clock show a time so long ago."""
    here.clock.seconds = (datetime.now(UTC) - SimulatedClock().now()).total_seconds() - seconds


def furnish(here: World) -> None:
    """Kits for all who are enrolled, a campaign file, and a user of each role."""
    write_kits(here.home, here.store.hospitals().values(), datetime.now(UTC))
    put_file(here)
    users = users_of(here.home)
    for role, name in NAMES.items():
        users.add(name, role, PASSWORD)


def put_file(here: World, name: str = "spring.toml") -> Path:
    """Put the campaign's file where it may be started from."""
    file = here.home.folder / "campaigns" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(FILE)
    return file


@pytest.fixture
def site(run_world: World) -> Site:
    clock = Clock()
    return Site(run_world, Access(users_of(run_world.home), False, clock), clock)


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """The page served for real on a free port of loopback."""
    with serving(site) as there:
        yield there


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """Serve a site's page; its address."""
    sock = listen("127.0.0.1", 0)
    app = page(site.world.home, LOOPBACK, secure=False, access=site.access)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def running_world(tmp_path: Path) -> World:
    """Two hospitals whose campaign is still to begin."""
    here = world(tmp_path, "north", "south")
    set_back(here, 90)
    furnish(here)
    return here
