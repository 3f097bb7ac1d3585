"""The door between courier and agent, and the courier that carries through it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import grpc
import pytest
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.app import carry
from client.rpc import SERVICE, AgentUnreachableError, call, serve
from privacy.codes import Refusal


def _boom(request: bytes) -> bytes:
    raise RuntimeError("patient DOE-1")


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """A served socket: `train` echoes its envelope, `describe` raises, `evaluate` answers rubbish."""
    path = tmp_path / "agent.sock"
    server = serve(path, {"train": lambda data: data, "describe": _boom, "evaluate": lambda data: b"rubbish"})
    yield path
    server.stop(0).wait()


def ask(socket: Path, **records: ConfigRecord) -> dict[str, dict[str, object]]:
    """Carry a Flower message as the courier does."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    message = Message(RecordDict(dict(records)), 1, MessageType.TRAIN)
    message.metadata.__dict__["_message_id"] = "1"
    reply = carry(message, SimpleNamespace(node_config={"agent-socket": str(socket)}))  # type: ignore[arg-type]
    return {name: dict(record) for name, record in reply.content.config_records.items()}


def test_bytes_come_back_as_they_went(socket: Path) -> None:
    """Catches a size limit below what experts need, and damage on the way."""
    data = bytes(range(256)) * 40_000
    assert call(socket, "train", data) == data


def test_an_exception_crosses_as_one_word(socket: Path) -> None:
    """Catches gRPC's habit of sending an exception's text to the caller."""
    with grpc.insecure_channel(f"unix:{socket}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{SERVICE}/describe")(b"")
    assert caught.value.details() == "internal"
    with pytest.raises(AgentUnreachableError) as told:
        call(socket, "describe", b"")
    assert "DOE" not in str(told.value)


def test_a_flood_is_turned_away_and_who_asks_after_it_is_answered(tmp_path: Path) -> None:
    """Catches a queue that holds a message for each of a thousand who ask at once: the agent's memory, to the last byte."""
    path, go_on, ended = tmp_path / "agent.sock", threading.Event(), Queue[str]()

    def hold(data: bytes) -> bytes:
        go_on.wait(60)
        return data

    def ask() -> None:
        try:
            ended.put(call(path, "train", b"answered", timeout=60).decode())
        except AgentUnreachableError as error:
            ended.put(str(error))

    server = serve(path, {"train": hold})
    callers = [threading.Thread(target=ask) for _ in range(50)]
    for caller in callers:
        caller.start()
    turned_away = [ended.get(timeout=60) for _ in range(42)]
    assert set(turned_away) == {f"{path}: resource_exhausted"}
    go_on.set()
    for caller in callers:
        caller.join()
    assert [ended.get_nowait() for _ in range(8)] == ["answered"] * 8
    assert call(path, "train", b"after") == b"after"
    server.stop(0).wait()


def test_a_method_that_is_not_served_is_unreachable(socket: Path) -> None:
    """Catches `status` on the courier's door."""
    with pytest.raises(AgentUnreachableError, match="unimplemented"):
        call(socket, "status", b"")


def test_a_long_path_is_reached_all_the_same(tmp_path: Path) -> None:
    """Catches the kernel's limit of 107 bytes on a Unix socket's path: homes lie deep."""
    folder = tmp_path / ("deep" * 20) / ("er" * 40)
    folder.mkdir(parents=True)
    server = serve(folder / "agent.sock", {"train": lambda data: data})
    assert call(folder / "agent.sock", "train", b"x") == b"x"
    server.stop(0).wait()


def test_a_dead_agents_socket_is_taken_over(tmp_path: Path) -> None:
    """Catches an agent that can't start again after it was killed."""
    code = (
        "import os,sys; from pathlib import Path; from client.rpc import serve; "
        "serve(Path(sys.argv[1]), {}); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "agent.sock")])
    server = serve(tmp_path / "agent.sock", {"train": lambda data: data})
    assert call(tmp_path / "agent.sock", "train", b"x") == b"x"
    server.stop(0).wait()


def test_the_courier_carries_each_record_to_its_method(socket: Path) -> None:
    """Catches a courier that changes, drops or mixes what it carries."""
    parts = ConfigRecord({"plan": b"p", "expert/scale/roi": b"e"})
    assert ask(socket, train=parts) == {"train": {"plan": b"p", "expert/scale/roi": b"e"}}


@pytest.mark.parametrize(
    ("method", "record", "code"),
    [
        ("status", ConfigRecord(), Refusal.BAD_REQUEST),
        ("train", ConfigRecord({"plan": "text"}), Refusal.BAD_REQUEST),
        ("evaluate", ConfigRecord(), Refusal.BAD_REQUEST),
        ("describe", ConfigRecord(), Refusal.UNREACHABLE),
    ],
    ids=["no such method", "not bytes", "rubbish from the agent", "the agent failed"],
)
def test_the_courier_answers_every_failure_with_a_code(
    socket: Path, method: str, record: ConfigRecord, code: Refusal
) -> None:
    """Catches an exception in the courier: Flower would carry its text to the coordinator."""
    assert ask(socket, **{method: record}) == {method: {"code": code.encode()}}


def test_no_agent_is_a_code_too(tmp_path: Path) -> None:
    """Catches a courier that waits without end, or raises, where no agent is."""
    assert ask(tmp_path / "none.sock", train=ConfigRecord()) == {"train": {"code": b"unreachable"}}


def test_the_agents_death_ends_the_couriers_wait(tmp_path: Path) -> None:
    """Catches a courier that hangs when the agent is killed under it."""
    held, path = threading.Event(), tmp_path / "agent.sock"
    server = serve(path, {"train": lambda data: (held.wait(30), data)[1]})
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(path, train=ConfigRecord())))
    waiting.start()
    waiting.join(1)
    server.stop(0)
    waiting.join(20)
    held.set()
    assert answers == [{"train": {"code": b"unreachable"}}]


def test_the_courier_needs_no_torch() -> None:
    """Catches an import that would cost every message seconds and a gigabyte."""
    code = "import sys, client.app; print([m for m in ('torch', 'transformers', 'openslide', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
