"""The agent's two sockets under hostile bytes: it lives, its memory is bounded, and who asks properly is served after."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest

from client.rpc import COURIER_METHODS, SERVICE, call
from privacy import envelope
from privacy.codes import Refusal
from privacy.description import Description
from tests.hostile_bytes import PREFACE, left_open, payloads, pour
from tests.unit.client.conftest import House
from tests.unit.client.test_client_watch import events, is_ready, running, until

MakeHouse = Callable[..., House]
CODES = {code.encode() for code in Refusal}


def dial(path: Path) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        found.connect(str(path))
        return found

    return connect


def garbled(seed: int) -> list[bytes]:
    """Requests that are no envelopes, envelopes of rubbish, and none at all."""
    draw = random.Random(seed)
    parts = {
        name: draw.randbytes(draw.randrange(500)) for name in ("plan", "signature", "request", "receipt")
    }
    whole = envelope.pack(parts)
    cut = [whole[: draw.randrange(len(whole))] for _ in range(3)]
    return [b"", draw.randbytes(2000), whole, *cut, whole + b"x", b"\xff" * 5000]


def test_hostile_bytes_at_both_doors_cost_nothing(house: MakeHouse, tmp_path: Path) -> None:
    """Catches a door that a courier under foreign code can break, hang, or fill the agent's memory or log through."""
    place, log = house(), tmp_path / "log"
    home = place.home
    doors = (home.socket, home.status_socket)
    with running(home, log) as process:
        until(lambda: is_ready(home), process, log)
        agent = psutil.Process(process.pid)
        before = agent.memory_info().rss
        for door in doors:
            for data in payloads(1, 1):
                pour(dial(door), data)
        beginnings = [PREFACE, PREFACE[:10], b"\x16\x03\x01", b""] * 25
        with left_open(dial(home.socket), beginnings), left_open(dial(home.status_socket), beginnings):
            assert is_ready(home), "slow talkers keep others out"
            for method in COURIER_METHODS:
                for request in garbled(2):
                    answer = envelope.unpack(call(home.socket, method, request, timeout=30), 1 << 20)
                    assert set(answer) <= {"code", "description"}, method
                    assert answer.get("code", b"busy") in CODES
        with grpc.insecure_channel(f"unix:{home.socket}") as channel:
            for path in (f"/{SERVICE}/status", f"/{SERVICE}/", "/x/y", f"/{SERVICE}/health"):
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary(path)(b"", timeout=30)
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        for request in garbled(3):  # local IT's door reads no request at all
            assert call(home.status_socket, "health", request, timeout=30) == b"ready"
        assert agent.is_running()
        assert agent.memory_info().rss - before < 64 << 20
        answer = envelope.unpack(call(home.socket, "describe", envelope.pack({}), timeout=30), 1 << 20)
        assert Description.from_bytes(answer["description"]).hospital == "north"
        trained = call(home.socket, "train", envelope.pack(place.request(place.plan())), timeout=120)
        assert "release/scale/roi" in envelope.unpack(trained, 1 << 28)
    assert {event["level"] for event in events(log)} <= {"info", "warning"}, log.read_text()
