"""SIGTERM to a real agent in the midst of a round."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from client.rpc import AgentUnreachableError, call
from privacy import envelope
from privacy.mechanism import Mechanism
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]
FOUR = Mechanism(1.0, 20.0, 0.5, 4, 2)


def started(place: House) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", "from client.cli import app; app()"]
    with (place.home.folder / "agent.log").open("ab") as log:
        agent = subprocess.Popen([*program, "agent", str(place.home.folder)], stderr=log)
    until(agent, lambda: "phase" in status(place))
    return agent


def status(place: House) -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads(call(place.home.status_socket, "status", b"", timeout=5))
    except AgentUnreachableError:
        return {}
    return found


def until(agent: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert agent.poll() is None, "the agent ended"
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_terminated_agent_ends_in_order_and_the_round_goes_on_for_one_charge(house: MakeHouse) -> None:
    """Catches an agent that drops its step at SIGTERM, answers nothing, hangs, or has the round paid twice."""
    place = house()
    request = envelope.pack(place.request(place.plan(mechanism=FOUR)))
    agent, replies = started(place), []

    def asks() -> None:
        replies.append(call(place.home.socket, "train", request, timeout=120))

    asking = threading.Thread(target=asks, daemon=True)
    asking.start()
    until(agent, lambda: status(place).get("phase") == "training" and bool(place.ledger().open_rounds()))
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(60) == 0
    asking.join(10)
    assert replies, (place.home.folder / "agent.log").read_text()
    answered = envelope.unpack(replies[0], 1 << 28)
    if "code" in answered:  # else it was in its last step, and sent the round
        assert answered == {"code": b"unreachable"}
        assert len(list(place.home.checkpoints.glob("*.step"))) == 1
    again = started(place)
    try:
        reply = envelope.unpack(call(place.home.socket, "train", request, timeout=120), 1 << 28)
    finally:
        again.terminate()
    assert "release/scale/roi" in reply
    assert again.wait(60) == 0
    summary = place.ledger().summary()
    assert (len(summary.events), summary.voided, summary.spent) == (1, 0, 1)
