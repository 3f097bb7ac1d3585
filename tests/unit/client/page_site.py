"""A hospital's page over a home that has trained two rounds, as tests open it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import uvicorn
from starlette.testclient import TestClient

from client import rpc
from client.agent import Agent
from client.asked_campaigns import AskedCampaigns
from client.page.app import page
from client.page.entry import COOKIE, Entry
from pages.serving import LOOPBACK, listen
from privacy import canonical
from privacy.codes import Refusal
from privacy.egress_record import EgressRecord
from tests.unit.client.conftest import House

CODE = "c0" * 32


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """A home that has trained two rounds, and its page."""

    house: House
    entry: Entry
    clock: Clock

    def client(self, *, enter: bool = True) -> TestClient:
        app = page(self.house.home, LOOPBACK, self.entry)
        client = TestClient(app, base_url="http://127.0.0.1:8788", follow_redirects=False)
        if enter:
            assert client.get(f"/enter?secret={self.entry.secret}").status_code == 303
        return client

    def csrf(self, client: TestClient) -> str:
        session = self.entry.session(client.cookies[COOKIE])
        assert session is not None
        return session.csrf

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """A real agent that answers local IT."""
        agent = self.house.agent()
        server = rpc.serve(self.house.home.status_socket, agent.local_methods)
        try:
            yield agent
        finally:
            server.stop(None).wait()

    @contextmanager
    def served(self) -> Iterator[str]:
        sock = listen("127.0.0.1", 0)
        config = uvicorn.Config(
            page(self.house.home, LOOPBACK, self.entry), log_level="error", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


def make_site(place: House) -> Site:
    """Two rounds paid and sent, one request refused, one campaign that asks."""
    ledger, policy = place.ledger(), place.home.policy
    for number in (1, 2):
        plan = place.plan(number)
        reservation = ledger.reserve(plan, policy, CODE)
        sealed = b"sealed %d" % number
        ledger.spend(reservation, {"scale/roi": sealed})
        record = EgressRecord(
            "release/scale/roi",
            canonical.digest(sealed),
            len(sealed),
            ledger.epsilon(policy.delta),
            "ab" * 32,
        )
        ledger.log_egress([record])
    ledger.refuse(Refusal.POLICY_NOISE, "ee" * 32)
    AskedCampaigns(place.home.asked_campaigns).note(place.plan(3, campaign="autumn"), datetime.now(UTC))
    clock = Clock()
    return Site(place, Entry(clock=clock), clock)
