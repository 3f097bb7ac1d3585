"""`fedpath-hospital agent --gpus 2`, as it runs: two processes, one release, and no way to hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from client.rpc import AgentUnreachableError, call
from privacy import envelope
from privacy.mechanism import Mechanism
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]


@contextmanager
def running(place: House, gpus: int) -> Iterator[subprocess.Popen[bytes]]:
    code = "from client.cli import app; app()"
    command = [sys.executable, "-c", code, "agent", str(place.home.folder), "--gpus", str(gpus)]
    with (place.home.folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while not _ready(place):
            assert process.poll() is None, (place.home.folder / "agent.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def _ready(place: House) -> bool:
    try:
        call(place.home.status_socket, "status", b"", timeout=5)
    except AgentUnreachableError:
        return False
    return True


def _workers(agent: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(agent.pid).children()
        if "client.worker" in " ".join(child.cmdline())
    ]


def test_two_processes_answer_a_plan_and_end_together(house: MakeHouse) -> None:
    """Catches workers that never meet without a network, that outlive their agent, or an agent that hangs on a dead
    worker.
    """
    place = house()
    everyone = place.plan(mechanism=Mechanism(1.0, 1.0, 0.8, 2, 4))
    with running(place, 2) as agent:
        (worker,) = _workers(agent)
        reply = envelope.unpack(
            call(place.home.socket, "train", envelope.pack(place.request(everyone)), timeout=120), 1 << 28
        )
        assert set(reply) == {"release/scale/roi", "release/scale/wsi"}, _log(place)
        assert place.ledger().summary().spent == 1
        agent.send_signal(signal.SIGTERM)
        agent.wait(timeout=30)
        worker.wait(timeout=30)
    with running(place, 2) as agent:
        _workers(agent)[0].kill()
        assert agent.wait(timeout=30) == 1, "who supervises it must see that it has to be started again"


def _log(place: House) -> str:
    return Path(place.home.folder / "agent.log").read_text()
