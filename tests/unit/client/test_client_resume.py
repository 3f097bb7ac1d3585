"""A round that goes on where its agent died: paid for once, each step taken once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client import agent as agents
from client import paid_work
from client.agent import Agent
from client.key_rotation import rotate_key
from client.tasks.sample import Sample
from client.training.round import train_round
from privacy import envelope
from privacy.codes import Refusal
from privacy.descent import StepState
from privacy.ledger.account import Installed
from privacy.ledger.entries import Kind
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from tests.unit.client.conftest import House, ask

MakeHouse = Callable[..., House]
MECHANISM = Mechanism(1.0, 20.0, 0.5, 3, 2)


def round_of(place: House, number: int, **changes: Any) -> Plan:
    return place.plan(number, mechanism=MECHANISM, **changes)


def entries(place: House, number: int) -> list[str]:
    """The kinds of this round's entries that count, in order."""
    found, mine = [], set()
    for entry in place.ledger().entries():
        if entry.kind == Kind.RESERVATION and entry.body["round"] == number:
            mine.add(entry.hash)
            found.append("reservation")
        elif entry.body.get("reservation") in mine:
            found.append(str(entry.kind))
    return found


Life = Callable[[House, Plan, int], list[str]]


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    """One agent's life in a process of its own, killed at its n-th touch of a checkpoint (0: at none)."""
    command = [sys.executable, "-m", "tests.unit.client.resume_child"]
    nursery = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert nursery.stdin is not None
    assert nursery.stdout is not None

    def ask_for(place: House, plan: Plan, last: int) -> list[str]:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        request = place.home.folder / "request.bin"
        request.write_bytes(envelope.pack(place.request(plan)))
        asked = {"home": str(place.home.folder), "request": str(request), "last": last}
        print(json.dumps(asked), file=nursery.stdin, flush=True)
        said: list[str] = json.loads(nursery.stdout.readline())
        return said

    yield ask_for
    nursery.stdin.close()
    nursery.stdout.close()
    nursery.wait()


def test_killed_at_every_touch_of_a_checkpoint_the_round_goes_on_for_one_charge(
    house: MakeHouse, life: Life
) -> None:
    """Catches a second charge, a step lost or taken twice, and a checkpoint that outlives its round."""
    place = house()
    mechanism = replace(MECHANISM, steps=2)
    once = ["step 1", "step 2"]
    point, resumed = 1, 0
    while (said := life(place, plan := place.plan(point, mechanism=mechanism), point))[-1] == "killed":
        sealed = place.ledger().sent(plan.campaign, plan.round, plan.hash) is not None
        durable = 0 if sealed else len(list(place.home.checkpoints.glob("*.step")))
        paid = ["reservation", "void"] * place.ledger().summary().reserved
        again = life(place, plan, 0)
        assert again[-1] == "sent release/scale/roi release/scale/wsi"
        steps = [line for line in said + again if line.startswith("step")]
        if sealed:
            assert (steps, again[:-1]) == (once, [])
        elif durable:
            resumed += 1
            assert [step for step in once if step not in steps] in ([], [once[len(said) - 1]])
            assert len(steps) == len(set(steps)), "a step that stands in a checkpoint was taken again"
            assert entries(place, plan.round) == ["reservation", "spend"]
        else:
            assert again[:-1] == once
            assert entries(place, plan.round) == [*paid, "reservation", "spend"]
        assert place.ledger().summary().reserved == 0
        assert list(place.home.checkpoints.iterdir()) == []
        point += 1
    assert said[-1].startswith("sent")
    assert resumed >= 4
    assert point > 6


def interrupt(place: House, plan: Plan, monkeypatch: pytest.MonkeyPatch, after: int = 2) -> Agent:
    """An agent that died after some steps of the plan, as it lies on the disk; returns that dead agent."""

    class Died(BaseException):
        pass

    def dies(*arguments: object, keep: Callable[[StepState], None], **others: Any) -> object:
        def kept(state: StepState) -> None:
            keep(state)
            if state.steps == after:
                raise Died

        return train_round(*arguments, keep=kept, **others)  # type: ignore[arg-type]

    agent = place.agent()
    with monkeypatch.context() as patch:
        patch.setattr(paid_work, "train_round", dies)
        patch.setattr(agent._ledger, "void", lambda reservation: None)
        patch.setattr(agent._checkpoints, "sweep", lambda: None)
        with pytest.raises(Died):
            agent._work.sealed_round(
                plan,
                place.request(plan),
                agent._ledger.reserve(plan, place.home.policy, agent._code_hash),
            )
    return agent


def test_a_checkpoint_is_for_the_agents_user_alone(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a file that the courier, or anyone, may read."""
    place = house()
    interrupt(place, round_of(place, 1), monkeypatch)
    assert place.home.checkpoints.stat().st_mode & 0o777 == 0o700
    (path,) = place.home.checkpoints.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_status_says_that_a_round_was_interrupted(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a kept reservation that IT can't see."""
    place = house()
    interrupt(place, round_of(place, 1), monkeypatch)
    told = place.agent().progress.snapshot()
    assert (told["voided_at_start"], told["interrupted_at_start"]) == (0, 1)
    assert told["epsilon"] > 0


def _damage(place: House) -> None:
    (path,) = place.home.checkpoints.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(place: House) -> None:
    (path,) = place.home.checkpoints.iterdir()
    path.write_bytes(path.read_bytes()[:100])


def _lose(place: House) -> None:
    (path,) = place.home.checkpoints.iterdir()
    path.unlink()


def _new_policy(place: House) -> None:
    path = place.home.folder / "policy.toml"
    path.write_text(path.read_text().replace("maximum_steps = 4", "maximum_steps = 3"))


def _failed_selftest(place: House) -> None:
    from privacy.code_hash import code_hash

    place.ledger().selftest(False, code_hash(), ["noise"])


@pytest.mark.parametrize("spoil", [_damage, _cut, _lose, _new_policy, _failed_selftest])
def test_what_can_not_go_on_is_given_up(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[House], None]
) -> None:
    """Catches weights of a damaged file, a round under limits that the hospital has changed since, and a reservation
    that bars its round for ever. What was given up stays charged.
    """
    place = house()
    plan = round_of(place, 1)
    interrupt(place, plan, monkeypatch)
    spoil(place)
    agent = place.agent()
    told = agent.progress.snapshot()
    assert (told["voided_at_start"], told["interrupted_at_start"]) == (1, 0)
    assert place.ledger().summary().events == (plan.event(),)
    assert list(place.home.checkpoints.iterdir()) == []
    reply = ask(agent, "train", place.request(plan))
    if spoil is _failed_selftest:
        assert reply["code"].decode() == Refusal.SELFTEST_FAILED
    else:
        assert "release/scale/roi" in reply
        assert entries(place, 1) == ["reservation", "void", "reservation", "spend"]


def test_a_round_does_not_go_on_under_other_code(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a release that names the code of its first steps and was finished by another."""
    place = house()
    interrupt(place, round_of(place, 1), monkeypatch)
    monkeypatch.setattr(agents, "installed", lambda: Installed("f" * 64, None))
    assert place.agent().progress.snapshot()["voided_at_start"] == 1


def test_a_round_does_not_go_on_under_another_key(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a checkpoint that outlives the key which vouches for it."""
    place = house()
    interrupt(place, round_of(place, 1), monkeypatch)
    rotate_key(place.home)
    assert place.agent().progress.snapshot()["voided_at_start"] == 1


@pytest.mark.parametrize("changed", [{"learning_rate": 0.02}, {"number": 2}], ids=str)
def test_another_plan_gives_the_interrupted_round_up(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    """Catches another plan's round that starts from this one's weights, and a charge that nothing will use."""
    place = house()
    interrupt(place, round_of(place, 1), monkeypatch)
    other = round_of(place, changed.get("number", 1), **{k: v for k, v in changed.items() if k != "number"})
    agent = place.agent()
    steps: list[int] = []
    monkeypatch.setattr(agent.progress, "step", lambda done, of: steps.append(done))
    assert "release/scale/roi" in ask(agent, "train", place.request(other))
    assert steps == [1, 2, 3]
    assert entries(place, 1)[:2] == ["reservation", "void"]
    assert place.ledger().summary().reserved == 0
    assert list(place.home.checkpoints.iterdir()) == []


def test_a_slide_that_goes_bad_in_mid_round_costs_no_step_that_was_taken(
    house: MakeHouse, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a round begun again from half-trained weights: steps that are in the release and were not paid for."""
    shutil.copytree(data / "slides", tmp_path / "slides")
    place = house(slides=tmp_path / "slides")
    policy = place.home.folder / "policy.toml"
    policy.write_text(policy.read_text().replace("sampling_rate = 0.8", "sampling_rate = 1.0"))
    agent = place.agent()
    bad = sorted((tmp_path / "slides").iterdir())[0]
    steps: list[int] = []
    seen: list[Sequence[Sample]] = []
    started: list[Any] = []

    def watched(experts: Any, trained: Any, samples: Sequence[Sample], *others: Any, **named: Any) -> object:
        seen.append(samples)
        started.append((named["resume"], experts.export("scale/roi")))
        return train_round(experts, trained, samples, *others, **named)

    def step(done: int, of: int) -> None:
        steps.append(done)
        bad.write_bytes(b"")
        agent._data.inputs._held.clear()

    monkeypatch.setattr(paid_work, "train_round", watched)
    monkeypatch.setattr(agent.progress, "step", step)
    everyone = place.plan(mechanism=Mechanism(1.0, 20.0, 1.0, 4, 4))
    assert "release/scale/roi" in ask(agent, "train", place.request(everyone))
    assert steps == [1, 2, 3, 4]
    assert len(seen) == 2
    assert started[1][0].steps == 1
    assert all((started[0][1][key] == value).all() for key, value in started[1][1].items())
    assert len(seen[1]) < len(seen[0])
