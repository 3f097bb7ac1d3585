"""Noised evaluation over a simulated grid: who is asked, what each hostile answer comes to, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from privacy import canonical, keys
from privacy.keys import PrivateKey, Purpose
from privacy.ledger.account import Reservation
from server.campaign import Campaign, NoisedEvaluations
from server.errors import RoundFailed
from tests.federation.simulator import CODE, Faults, SimulatedHospital
from tests.federation.test_rounds import CAMPAIGN, GRPO, SFT, Killed, World, world

OFFERS = {"minimum_evaluation_noise": 0.5}
NOISED = replace(
    CAMPAIGN, stages=(replace(SFT, rounds=1),), noised_evaluation=NoisedEvaluations(noise_multiplier=2.0)
)


def house(folder: Path, *names: str, without: str = "") -> World:
    """Hospitals that all offer noised evaluation, but for one."""
    return world(folder, *names, **{name: OFFERS for name in names if name != without})


def noised(here: World) -> list[dict[str, Any]]:
    return list(here.shown()["noised_evaluations"])


def faults(here: World) -> dict[str, str | None]:
    return {row["hospital"]: row["fault"] for row in noised(here)[-1]["hospitals"]}


def evaluations(hospital: SimulatedHospital) -> list[Reservation]:
    return [charge for charge in hospital.ledger._read().charges() if charge.purpose == "evaluation"]


def test_hospitals_count_after_every_stage_and_the_counts_are_pooled(tmp_path: Path) -> None:
    """Catches a point that is left out, counts that are not added up, or a round number that collides with the
    training round after which it is asked.
    """
    here = house(tmp_path, "north", "south")
    here.run(replace(NOISED, stages=(SFT, GRPO)))
    assert [(row["point"], row["round"]) for row in noised(here)] == [("sft", 2), ("grpo", 3)]
    last = noised(here)[-1]
    assert faults(here) == {"north": None, "south": None}
    assert len(last["pooled"]) == 4  # two scales, two tasks
    for index, kind in enumerate(last["pooled"]):
        each = [row["kinds"][index] for row in last["hospitals"]]
        assert kind["right"] == sum(row["right"] for row in each)
        low, high = kind["ci95"]
        assert low <= kind["mean"] <= high
        assert kind["right"] + kind["wrong"] == pytest.approx(80, abs=60)
    assert last["noise_std"] == pytest.approx(2.0 * 4**0.5)
    for hospital in here.hospitals.values():
        assert [(held.round, held.purpose) for held in hospital.ledger._read().charges()] == [
            (1, "training"),
            (2, "training"),
            (2, "evaluation"),
            (3, "training"),
            (3, "evaluation"),
        ]
    entry = here.store.journal()[-1]
    assert entry.kind == "evaluation"
    paid = {h.name: evaluations(h)[-1].hash for h in here.hospitals.values()}
    assert {answer["hospital"]: answer["reservation"] for answer in entry.body["answers"]} == paid


def test_who_refuses_or_is_away_is_noted_and_stops_nothing(tmp_path: Path) -> None:
    """Catches an evaluation that waits for, or fails with, one hospital; and a refusal that is not told."""
    here = house(tmp_path, "north", "south", "west", without="south")
    here.hospitals["west"].faults = Faults(offline=True)
    here.run(NOISED)
    assert here.shown()["state"] == "done"
    assert faults(here) == {"north": None, "south": "not-offered", "west": "not-connected"}
    (point,) = noised(here)
    (north,) = [row["kinds"] for row in point["hospitals"] if row["hospital"] == "north"]
    assert point["pooled"] == north


def test_nobody_there_is_an_error_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """Catches an evaluation that is committed empty because all links were down for an hour."""
    here = house(tmp_path, "north", "south")
    north = here.hospitals["north"]
    answer = north.answer

    def leave(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        if method == "train":
            for hospital in here.hospitals.values():
                hospital.faults = Faults(offline=True)
        return answer(method, parts)

    north.answer = leave  # type: ignore[method-assign]
    with pytest.raises(RoundFailed):
        here.run(replace(NOISED, quorum=1))
    assert noised(here) == []
    north.answer = answer  # type: ignore[method-assign]
    for hospital in here.hospitals.values():
        hospital.faults = Faults()
    here.run(replace(NOISED, quorum=1), run_id="2")
    assert None in faults(here).values()


def _resigned(change: dict[str, Any]) -> Callable[[SimulatedHospital, bytes], dict[str, bytes]]:
    """A hospital's own answer with fields changed, and validly signed again."""

    def spoil(hospital: SimulatedHospital, data: bytes) -> dict[str, bytes]:
        payload = canonical.encode({**canonical.decode(data[64:], 1 << 16), **change})
        return {"counts": hospital.key.sign(payload, Purpose.COUNTS) + payload}

    return spoil


def _signed_by(purpose: Purpose, stranger: bool) -> Callable[[SimulatedHospital, bytes], dict[str, bytes]]:
    def spoil(hospital: SimulatedHospital, data: bytes) -> dict[str, bytes]:
        key = keys.generate(hospital.folder / "stranger.key") if stranger else hospital.key
        fields = canonical.decode(data[64:], 1 << 16)
        payload = canonical.encode({**fields, "key": key.public.fingerprint})
        return {"counts": key.sign(payload, purpose) + payload}

    return spoil


def _count(value: object) -> dict[str, Any]:
    return {"right": [value] * 8, "wrong": [0] * 8}


@dataclass(frozen=True)
class Hostile:
    """What west makes of its answer, and the word under which that is noted."""

    name: str
    spoil: Callable[[SimulatedHospital, bytes], dict[str, bytes]]
    fault: str


HOSTILE = (
    Hostile("empty", lambda h, d: {"counts": b""}, "not-a-release"),
    Hostile("cut short", lambda h, d: {"counts": d[:-1]}, "not-a-release"),
    Hostile("a flipped bit", lambda h, d: {"counts": bytes([d[0] ^ 1]) + d[1:]}, "bad-signature"),
    Hostile("endless", lambda h, d: {"counts": d + b" " * (1 << 17)}, "too-large"),
    Hostile("in another's name", _resigned({"hospital": "north"}), "unknown-hospital"),
    Hostile("a stranger's key", _signed_by(Purpose.COUNTS, stranger=True), "unknown-key"),
    Hostile("signed for another purpose", _signed_by(Purpose.RELEASE, stranger=False), "bad-signature"),
    Hostile("an answer to something else", _resigned({"request": "0" * 64}), "wrong-plan"),
    Hostile("less noise than it says", _resigned({"noise_std": 0.1}), "wrong-event"),
    Hostile("noise beyond any number", _resigned({"noise_std": 1e300}), "not-a-release"),
    Hostile("counts beyond any hospital", _resigned(_count(10**12)), "not-a-release"),
    Hostile("counts that are no numbers", _resigned(_count("all")), "not-a-release"),
    Hostile("counts that are not whole", _resigned(_count(0.5)), "not-a-release"),
    Hostile("other kinds", _resigned({"kinds": [["roi", "grading"]] * 8}), "wrong-shape"),
    Hostile("fewer counts than kinds", _resigned({"right": []}), "not-a-release"),
    Hostile("another event", _resigned({"event": {}}), "not-a-release"),
    Hostile("counts and more", lambda h, d: {"counts": d, "names": b"x"}, "bad-reply"),
    Hostile("a made-up word", lambda h, d: {"code": b"ha\nha"}, "ha?ha"),
)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_answer_is_refused_by_name_and_costs_only_itself(case: Hostile, tmp_path: Path) -> None:
    """Catches an answer that is counted though wrong, or that stops the campaign."""
    here = house(tmp_path, "north", "west")
    west = here.hospitals["west"]
    west.faults = Faults(counts=lambda data: case.spoil(west, data))
    here.run(NOISED)
    assert faults(here) == {"north": None, "west": case.fault}
    assert here.shown()["state"] == "done"


def test_an_answer_from_another_point_is_refused(tmp_path: Path) -> None:
    """Catches a replay: the first stage's counts, validly signed, must not stand for the second's."""
    here = house(tmp_path, "north", "west")
    held: list[bytes] = []

    def replay(data: bytes) -> dict[str, bytes]:
        held.append(data)
        return {"counts": held[0]}

    here.hospitals["west"].faults = Faults(counts=replay)
    here.run(replace(NOISED, stages=(replace(SFT, rounds=1), GRPO)))
    assert faults(here) == {"north": None, "west": "wrong-plan"}


def test_counts_of_untrusted_code_are_refused(tmp_path: Path) -> None:
    """Catches trusted code that binds releases only."""
    here = house(tmp_path, "north", "west")
    west = here.hospitals["west"]
    west.faults = Faults(counts=lambda data: _resigned({"code_hash": "0" * 64})(west, data))
    here.run(replace(NOISED, trusted_code=(CODE,)))
    assert faults(here) == {"north": None, "west": "wrong-code"}


def test_a_run_that_is_killed_meanwhile_gets_the_same_answers_unpaid(tmp_path: Path) -> None:
    """Catches a second charge, or other counts, because the coordinator died before it committed; also where the
    campaign file asks for other noise by then: what was asked first stands.
    """
    here = house(tmp_path, "north", "south")
    south = here.hospitals["south"]
    answer, sent = south.answer, []

    def kill(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        said = answer(method, parts)
        if method == "evaluate_noised":
            sent.append(said)
            if len(sent) == 1:
                raise Killed
        return said

    south.answer = kill  # type: ignore[method-assign]
    with pytest.raises(Killed):
        here.run(NOISED)
    assert noised(here) == []
    here.run(replace(NOISED, noised_evaluation=NoisedEvaluations(9.0)), run_id="2")
    assert sent[0] == sent[1]
    assert [len(evaluations(hospital)) for hospital in here.hospitals.values()] == [1, 1]
    (point,) = noised(here)
    assert point["noise_multiplier"] == 2.0
    here.run(NOISED, run_id="3")
    assert len(sent) == 2


def test_an_answer_from_before_a_key_was_replaced_is_taken(tmp_path: Path) -> None:
    """Catches counts that were paid for and are lost because the hospital rotated its key before they arrived."""
    here = house(tmp_path, "north", "south")
    south = here.hospitals["south"]
    _dies_at(here, south, "evaluate_noised")
    with pytest.raises(Killed):
        here.run(NOISED)
    del south.answer  # type: ignore[method-assign]
    here.store.replace_key("south", [south.rotate()])
    here.run(NOISED, run_id="2")
    assert faults(here) == {"north": None, "south": None}
    assert len(evaluations(south)) == 1


def _dies_at(here: World, hospital: SimulatedHospital, method: str) -> None:
    """The coordinator is killed once the hospital has answered `method`."""
    answer = hospital.answer

    def kill(asked: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        said = answer(asked, parts)
        if asked == method:
            raise Killed
        return said

    hospital.answer = kill  # type: ignore[method-assign]


# --- what the same wiring does for rounds: replaced keys, trusted code


def test_a_release_from_before_a_key_was_replaced_is_taken_in_its_round_only(tmp_path: Path) -> None:
    """Catches a paid release that is lost with the old key, and an old key that goes on signing new rounds."""
    here = house(tmp_path, "north", "south")
    south = here.hospitals["south"]
    _dies_at(here, south, "train")
    with pytest.raises(Killed):
        here.run()
    del south.answer  # type: ignore[method-assign]
    old = south.key
    here.clock.sleep(60)
    here.store.replace_key("south", [south.rotate()])
    _signs_with(south, old)
    with pytest.raises(RoundFailed, match="south: unknown-key"):
        here.run(run_id="2")
    assert here.faults_of(1, "south") == {None}
    assert here.shown()["rounds_committed"] == 1


def _signs_with(hospital: SimulatedHospital, key: PrivateKey) -> None:
    """From now on it seals with this key, whatever its ledger says."""
    hospital.key = key


def test_a_key_that_was_replaced_before_the_round_was_opened_is_unknown(tmp_path: Path) -> None:
    """Catches a former key that is good for ever."""
    here = house(tmp_path, "north", "south", "west")
    west = here.hospitals["west"]
    old = west.key
    here.store.replace_key("west", [west.rotate()])
    here.clock.sleep(1)
    _signs_with(west, old)
    here.run()
    assert here.faults_of(1, "west") == {"unknown-key"}


def test_a_hospital_of_other_code_does_not_count(tmp_path: Path) -> None:
    """Catches a campaign that is trained by code which nobody has looked at, and a reason that goes unsaid."""
    here = house(tmp_path, "north", "south")
    trusting: Campaign = replace(CAMPAIGN, trusted_code=("0" * 64,))
    with pytest.raises(RoundFailed, match="code-not-trusted"):
        here.run(trusting)
    assert all(hospital.asked.count("train") == 0 for hospital in here.hospitals.values())
    shown = {h.name: h.code_hash for h in here.store.hospitals().values()}
    assert shown == {"north": CODE, "south": CODE}, "its hash is what the operator needs"
