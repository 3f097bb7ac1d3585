"""A hospital's machine goes wrong in mid-round: real agent, real step, real ledger; one fault a row (docs/faults.md)."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from client.agent import Agent
from client.training.draw import Draw
from client.training.memory import LADDER
from client.training.round import stage_gradients
from privacy.codes import Refusal
from privacy.errors import LedgerError
from privacy.ledger import engine
from tests.unit.client.conftest import Fixed, House, ask

MakeHouse = Callable[..., House]
# Another process that holds the ledger's lock for writers until its input ends.
HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow: each write beyond a file's first page fails, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_while_spending(place: House, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ledger = agent._ledger
    spend = ledger.spend

    def on_a_full_disk(*arguments: Any) -> None:
        with full_disk():
            spend(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "spend", on_a_full_disk)
        yield


@contextmanager
def full_throughout(place: House, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with full_disk():
        yield


@contextmanager
def locked(place: House, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place.home.ledger)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.stdin.close()


@contextmanager
def never_enough_memory(place: House, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def allocator(draw: Draw, **named: Any) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("planted: tried to allocate 20 GiB")

    with monkeypatch.context() as patch:
        patch.setattr("client.paid_work.stage_gradients", allocator)
        yield


@dataclass(frozen=True)
class Case:
    """A fault while a round is asked for; what is charged by then, and after it was mended and the round asked again."""

    name: str
    fault: Callable[[House, Agent, pytest.MonkeyPatch], AbstractContextManager[None]]
    charged: int
    charged_again: int

    def __str__(self) -> str:
        return self.name


CASES = (
    Case("disk full before the reservation", full_throughout, 0, 1),
    Case("disk full at the spend", full_while_spending, 1, 1),
    Case("ledger locked by another process", locked, 0, 1),
    Case("out of memory at the least at once", never_enough_memory, 1, 2),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_of_the_machine_loses_nothing_and_never_undercounts(
    case: Case, house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a release without a charge, a second charge for work that only has to be written down, words about the
    fault that leave, and a fault after which the agent answers no more.
    """
    monkeypatch.setattr(engine, "WAIT_SECONDS", 1)
    place = house()
    agent = place.agent(Fixed(5))
    request = place.request(place.plan())
    with case.fault(place, agent, monkeypatch):
        try:
            answer = ask(agent, "train", request)
        except LedgerError:
            answer = {}  # not even the code could be logged: the socket says one word, "internal"
    assert answer in ({}, {"code": Refusal.INTERNAL.encode()})
    summary = place.ledger().summary()
    assert (len(summary.events), summary.spent) == (case.charged, 0)
    released = ask(agent, "train", request)
    assert set(released) == {"release/scale/roi", "release/scale/wsi"}
    summary = place.ledger().summary()
    assert (len(summary.events), summary.spent, summary.reserved) == (case.charged_again, 1, 0)
    place.ledger().verify(agent._key.public)
    assert ask(place.agent(), "train", request) == released


def test_out_of_memory_the_same_draw_is_summed_with_less_at_once(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a round that is lost where less at once would do; a second draw, which nobody has charged for: who is
    drawn would hang on whose questions fit; and a patient whose own batches change for another's sake.
    """
    asked: list[Draw] = []

    def allocator(draw: Draw, **named: Any) -> dict[str, torch.Tensor]:
        asked.append(draw)
        large = asked[0].samples[0][0].patient
        alone = [own[0].patient for own in draw.samples] == [large]
        if len(draw) > 1 or (alone and draw.performance.tokens > LADDER[-1].tokens):
            raise torch.OutOfMemoryError("planted: tried to allocate 20 GiB")
        return stage_gradients(draw, **named)

    monkeypatch.setattr("client.paid_work.stage_gradients", allocator)
    place = house()
    answer = ask(place.agent(Fixed(5)), "train", place.request(place.plan()))
    assert set(answer) == {"release/scale/roi", "release/scale/wsi"}
    summary = place.ledger().summary()
    assert (len(summary.events), summary.spent, summary.voided) == (1, 1, 0)
    whole = asked[0]
    steps = [draw for draw in asked if len(draw) == len(whole)]
    assert len(whole) >= 2, "a draw of one would prove nothing"
    assert len(steps) == place.plan().mechanism.steps
    first = asked[: asked.index(steps[1])] if len(steps) > 1 else asked
    patients = [own[0].patient for own in whole.samples]
    alone = [
        (patients.index(draw.samples[0][0].patient), draw.performance) for draw in first if len(draw) == 1
    ]
    assert [setting for place_, setting in alone if place_ > 0] == [whole.performance] * (len(patients) - 1)
    assert [setting for place_, setting in alone if place_ == 0] == [whole.performance, *LADDER[2:]]
    seeds = {own[0].patient: seed for own, seed in zip(whole.samples, whole.seeds, strict=True)}
    assert all(draw.seeds[0] == seeds[draw.samples[0][0].patient] for draw in first if len(draw) == 1)
