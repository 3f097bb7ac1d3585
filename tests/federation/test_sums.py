"""Rounds under distributed trust over a simulated grid: the sum is right, whoever is lost, and nobody pays twice for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client import peers
from client.sum_states import SumStates
from privacy import canonical, keys, tensors
from privacy.egress_record import MASKED
from privacy.mechanism import SHARED, Mechanism
from privacy.secagg.hospital_state import Advertised, Dealt
from privacy.secagg.messages import Deal
from privacy.secagg.outgoing import STEPS
from privacy.secagg.session import Session
from privacy.secagg.terms import Distributed
from server.campaign import Train
from server.errors import CampaignError, RoundFailed, StoreError
from server.runner import run_campaign
from server.sums import run_sum_round
from strategies.definition import Aggregation, Stage
from tests.federation.simulator import Faults, initial
from tests.federation.test_rounds import CAMPAIGN, World, world

MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sampling_rate=0.1, steps=1, samples_per_patient=4)
TERMS = Distributed(2.0**-10, 50, 2, 1)
STAGE = Stage("sft", 1, ("scale/roi", "scale/wsi"), 0.01, MECHANISM, distributed=TERMS)
NAMES = ("north", "south", "east", "west")
SUMMING = replace(
    CAMPAIGN, stages=(STAGE,), quorum=3, patients={name: 100 + 10 * n for n, name in enumerate(NAMES)}
)


def acquainted(folder: Path, *names: str, offering: tuple[str, ...] | None = None) -> World:
    """Hospitals that hold each other's keys, each with a vector of its own; all, or those named, offer distributed trust."""
    here = world(folder, *names, **{name: {"distributed_trust": True} for name in offering or names})
    for n, (name, hospital) in enumerate(here.hospitals.items()):
        hospital.sums.value = 0.5 * (n + 1)
        for other in here.hospitals.values():
            if other is not hospital:
                file = keys.public_path(other.folder / "release.key")
                peers.add(hospital.folder / "peers", name, other.name, file)
    return here


def summed(here: World) -> dict[str, Any]:
    """What the journal says of the last round's sum."""
    (*_, body) = [entry.body for entry in here.store.journal() if entry.kind == "round"]
    return dict(body["sum"])


def mean_of(
    here: World, names: tuple[str, ...], patients: Mapping[str, int], number: int = 1
) -> NDArray[np.float64]:
    """What a round's mean must be, by what these hospitals put in."""
    total = sum(here.hospitals[name].sums.shares[number].whole for name in names)
    mean: NDArray[np.float64] = total * TERMS.grid_step / (0.1 * sum(patients[name] for name in names))
    return mean


def first_moment(here: World) -> NDArray[np.float32]:
    """What Adam remembers, in the order of a round's numbers."""
    found = {
        expert: tensors.decode(data, 1 << 20) for expert, data in here.store.memories(SUMMING.name).items()
    }
    parts = [found[expert][f"first/{name}"] for expert in STAGE.experts for name in ("x.lora_B", "y.lora_B")]
    return np.concatenate([part.reshape(-1) for part in parts])


def check_sum(here: World, names: tuple[str, ...]) -> None:
    """The first moment after one round is a tenth of the mean over these hospitals, against the gradient."""
    mean = mean_of(here, names, SUMMING.patients)
    np.testing.assert_allclose(first_moment(here), -0.1 * mean, rtol=1e-6)


def test_a_campaign_of_sums_commits_the_mean_and_every_hospital_pays_once(tmp_path: Path) -> None:
    """Catches a wrong sum or divisor, a charge that is not the plan's event, and a journal that does not say who was in."""
    here = acquainted(tmp_path, *NAMES)
    here.run(SUMMING)
    check_sum(here, NAMES)
    said = summed(here)
    session = Session.from_bytes(said["session"].encode())
    assert (said["hospitals"], list(session.roll), session.threshold) == (sorted(NAMES), sorted(NAMES), 3)
    for name, hospital in here.hospitals.items():
        (event,) = hospital.ledger.summary().events
        assert (event.mechanism, event.noise_multiplier) == (SHARED, 1.0)
        sent = hospital.ledger.sent("spring", 1, _plan_hash(here))
        assert sent is not None
        assert said["messages"][MASKED][name] == canonical.digest(sent[MASKED])
    moved = here.store.state(here.store.states("spring")["scale/roi"])
    values = tensors.decode(moved, 1 << 20)["x.lora_B"]
    assert (np.abs(values - 0.25) < 0.0101).all()
    assert (values != 0.25).all()


def _plan_hash(here: World) -> str:
    (body,) = [entry.body for entry in here.store.journal() if entry.kind == "round"]
    return str(body["plan"])


def test_rounds_go_on_from_the_moments_of_those_before(tmp_path: Path) -> None:
    """Catches an optimiser that forgets, and a round that is answered with the one before's draw: each has its own charge."""
    here = acquainted(tmp_path, *NAMES[:3])
    patients = dict.fromkeys(NAMES[:3], 50)
    here.run(replace(SUMMING, stages=(replace(STAGE, rounds=2),), patients=patients))
    one, two = (mean_of(here, NAMES[:3], patients, number) for number in (1, 2))
    assert (one != two).any()
    np.testing.assert_allclose(first_moment(here), -0.09 * one - 0.1 * two, rtol=1e-5, atol=1e-9)
    assert all(len(hospital.ledger.summary().events) == 2 for hospital in here.hospitals.values())


def test_a_lost_memory_of_the_optimiser_is_found_before_anybody_is_asked(tmp_path: Path) -> None:
    """Catches a step that can't be taken and is found out once hospitals have paid for it, round after round."""
    here = acquainted(tmp_path, *NAMES)
    two = replace(SUMMING, stages=(replace(STAGE, rounds=2),))
    here.store.begin(two, initial(), "1")
    run_sum_round(here.house(), two, Train(1, 1, STAGE))
    asked = {name: len(hospital.asked) for name, hospital in here.hospitals.items()}
    (body,) = [entry.body for entry in here.store.journal() if entry.kind == "round"]
    blob = next(tmp_path.rglob(f"{body['aggregates']['scale/roi']['memory']}*"))
    blob.unlink()
    with pytest.raises(StoreError):
        here.run(two, "2")
    for name, hospital in here.hospitals.items():
        assert "sum" not in hospital.asked[asked[name] :]
        assert len(hospital.ledger.summary().events) == 1


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("told", ["", ", told"], ids=["silent", "answer-lost"])
def test_one_hospital_lost_at_any_step_costs_its_own_part_at_most(
    tmp_path: Path, step: str, told: str
) -> None:
    """Catches a round that hangs on one hospital, a lost one whose vector is in the sum though it is not said to be, and
    masks that stay on the sum.
    """
    here = acquainted(tmp_path, *NAMES)
    here.hospitals["west"].faults = Faults(lost_at=step + told)
    here.run(SUMMING)
    in_it = NAMES if STEPS.index(step) > 2 else NAMES[:3]
    assert summed(here)["hospitals"] == sorted(in_it)
    check_sum(here, in_it)


def test_too_few_before_the_masks_costs_nobody_anything(tmp_path: Path) -> None:
    """Catches a charge for a round that could not come to a sum: nothing is drawn before all have dealt."""
    here = acquainted(tmp_path, "north", "south", "east")
    few = replace(SUMMING, patients=dict.fromkeys(("north", "south", "east"), 50))
    here.hospitals["east"].faults = Faults(lost_at="deal")
    with pytest.raises(RoundFailed, match=r"too-few.*east: no-answer"):
        here.run(few)
    assert all(not hospital.ledger.summary().events for hospital in here.hospitals.values())
    assert here.shown()["rounds_committed"] == 0
    here.hospitals["east"].faults = Faults()
    here.run(few, "2")
    assert here.shown()["rounds_committed"] == 1


@pytest.mark.parametrize("step", ["mask", "agree", "reveal"])
def test_a_round_that_fails_after_the_masks_is_over_and_the_next_is_drawn_anew(
    tmp_path: Path, step: str
) -> None:
    """Catches a second masked input over one draw, and a campaign that stands still for ever on a round that is spent."""
    here = acquainted(tmp_path, "north", "south", "east")
    two = replace(
        SUMMING,
        stages=(replace(STAGE, rounds=2),),
        patients=dict.fromkeys(("north", "south", "east"), 50),
    )
    here.hospitals["east"].faults = Faults(lost_at=step)
    with pytest.raises(RoundFailed, match="is over without a sum"):
        here.run(two)
    assert "too-few" in str(summed(here)["failure"])
    assert here.shown()["rounds_committed"] == 1
    here.hospitals["east"].faults = Faults()
    here.run(two, "2")
    assert here.shown()["rounds_committed"] == 2
    assert summed(here)["hospitals"] == ["east", "north", "south"]
    charged = {name: len(hospital.ledger.summary().events) for name, hospital in here.hospitals.items()}
    assert charged == {"north": 2, "south": 2, "east": 1 if step == "mask" else 2}


def test_every_contributor_of_a_sum_has_its_receipt(tmp_path: Path) -> None:
    """Catches a hospital without proof that its masked sum counted, one that is owed for ever, and a receipt for a round
    without a sum, or for a hospital that is not in it.
    """
    here = acquainted(tmp_path, *NAMES)
    three = replace(SUMMING, stages=(replace(STAGE, rounds=3),), quorum=3)
    house = here.house()
    here.store.begin(three, initial(), "1")
    run_sum_round(house, three, Train(1, 1, STAGE))
    here.hospitals["west"].faults = Faults(lost_at="mask")
    run_sum_round(house, three, Train(2, 2, STAGE))
    here.hospitals["west"].faults = here.hospitals["south"].faults = Faults(lost_at="reveal")
    with pytest.raises(RoundFailed, match="over without a sum"):
        run_sum_round(house, three, Train(3, 3, STAGE))
    here.hospitals["west"].faults = here.hospitals["south"].faults = Faults()
    here.run(three, "2")
    rounds = {e.body["number"]: e.body["sum"] for e in here.store.journal() if e.kind == "round"}
    for name, hospital in here.hospitals.items():
        entries = [entry.body["receipt"] for entry in hospital.ledger.entries() if entry.kind == "receipt"]
        assert [receipt["round"] for receipt in entries] == ([1] if name == "west" else [1, 2])
        for receipt in entries:
            assert receipt["releases"] == {MASKED: rounds[receipt["round"]]["messages"][MASKED][name]}
        first = hospital.asked.index("receipt")
        assert hospital.asked[first + 1] == "sum", "it goes with the next round's first step"
    assert here.store.owed() == {}


@pytest.mark.parametrize(("names", "asked"), [(NAMES[:3], 4), (NAMES, 1)], ids=["needed", "not-needed"])
@pytest.mark.parametrize("step", ["mask", "agree", "reveal"])
def test_an_agent_that_is_started_again_once_hospitals_have_paid_is_waited_for_where_it_is_needed(
    tmp_path: Path, step: str, names: tuple[str, ...], asked: int
) -> None:
    """Catches a round that all have paid for and that ends at once because one agent is down for a moment; and one that
    waits for an agent that it can do without.
    """
    here = acquainted(tmp_path, *names)
    east = here.hospitals[names[2]]
    answer, steps = east.answer, list[bytes]()

    def down(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        steps.append(parts.get("step", b""))
        if steps[-1] == step.encode() and steps.count(steps[-1]) < 4:
            return {"code": b"unreachable"}
        return answer(method, parts)

    east.answer = down  # type: ignore[method-assign]
    here.run(replace(SUMMING, patients=dict.fromkeys(names, 50)))
    assert summed(here)["hospitals"] == sorted(
        set(names) - ({"east"} if (step, asked) == ("mask", 1) else set())
    )
    assert steps.count(step.encode()) == asked
    assert len(east.ledger.summary().events) == ((step, asked) != ("mask", 1))


@pytest.mark.parametrize("said", ["masked", "opening", "asked-to-mask"])
def test_a_hospitals_word_does_not_pass_for_the_coordinators_own(tmp_path: Path, said: str) -> None:
    """Catches a hospital that ends rounds by answering with what the coordinator notes of hospitals that may have paid."""
    here = acquainted(tmp_path, "north", "south", "east")
    few = replace(SUMMING, patients=dict.fromkeys(("north", "south", "east"), 50))
    east = here.hospitals["east"]
    answer = east.answer
    east.answer = lambda method, parts: (  # type: ignore[method-assign]
        {"code": said.encode()} if method == "sum" else answer(method, parts)
    )
    with pytest.raises(RoundFailed, match="refused: east"):
        here.run(few)
    east.answer = answer  # type: ignore[method-assign]
    here.run(few, "2")
    assert summed(here)["hospitals"] == ["east", "north", "south"]


@pytest.mark.parametrize("dealt", ["shares of a false secret", "what nobody can open"])
def test_a_hospital_whose_deal_is_false_ends_one_round_and_no_other(tmp_path: Path, dealt: str) -> None:
    """Catches a hostile hospital that has all others pay for nothing, round after round, as often as the campaign is run."""
    here = acquainted(tmp_path, *NAMES)
    two = replace(SUMMING, stages=(replace(STAGE, rounds=2),))
    east = here.hospitals["east"]
    answer, states = east.answer, SumStates(east.folder / "sums")

    def false(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        said, state = answer(method, parts), states.read("spring")
        if dealt == "shares of a false secret":
            if parts.get("step") == b"advertise" and isinstance(state, Advertised):
                states.keep(replace(state, seed=bytes(32)))
        elif "deal" in said and isinstance(state, Dealt):
            session = state.advertised.session
            deal = Deal.open(said["deal"], session)
            junk = replace(deal, sealed={name: bytes(len(share)) for name, share in deal.sealed.items()})
            said["deal"] = junk.sign(session, east.key)
            states.keep(replace(state, deal=said["deal"]))
        return said

    east.answer = false  # type: ignore[method-assign]
    with pytest.raises(RoundFailed, match=r"over without a sum.*east: bad-deal"):
        here.run(two)
    here.run(two, "2")
    assert summed(here)["hospitals"] == ["north", "south", "west"]
    charged = {name: len(hospital.ledger.summary().events) for name, hospital in here.hospitals.items()}
    assert charged == {"north": 2, "south": 2, "west": 2, "east": 1}


def test_a_coordinator_killed_after_the_masks_asks_for_no_second_input(tmp_path: Path) -> None:
    """Catches a restart that begins the same round in another session: those who paid are not asked to pay again for it."""
    here = acquainted(tmp_path, "north", "south", "east")
    three = replace(
        SUMMING,
        stages=(replace(STAGE, rounds=2),),
        patients=dict.fromkeys(("north", "south", "east"), 50),
    )
    here.hospitals["east"].faults = Faults(lost_at="agree")

    class Killed(Exception):  # noqa: N818 - a death, not an error
        pass

    house = here.house()
    sleep = house.clock.sleep

    def dying(seconds: float) -> None:
        if here.hospitals["north"].sums.shares:
            raise Killed
        sleep(seconds)

    house.clock.sleep = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run_campaign(house, three, initial(), "1")
    house.clock.sleep = sleep  # type: ignore[method-assign]
    here.hospitals["east"].faults = Faults()
    with pytest.raises(RoundFailed, match="stopped after hospitals were asked to mask"):
        here.run(three, "2")
    here.run(three, "3")
    assert here.shown()["rounds_committed"] == 2


def test_who_does_not_offer_it_is_left_out_of_the_next_attempt(tmp_path: Path) -> None:
    """Catches a round that can't be had because one hospital's policy says no, where the others are enough."""
    five = (*NAMES, "centre")
    here = acquainted(tmp_path, *five, offering=NAMES[:3])
    here.run(replace(SUMMING, patients=dict.fromkeys(five, 50)))
    assert list(Session.from_bytes(summed(here)["session"].encode()).roll) == sorted(NAMES[:3])


def test_a_made_up_hospital_on_the_roll_is_refused_by_all(tmp_path: Path) -> None:
    """Catches hospitals that go by the coordinator's word for who the others are."""
    here = acquainted(tmp_path, *NAMES[:3])
    for name in NAMES[:3]:
        for file in (here.hospitals[name].folder / "peers").iterdir():
            file.unlink(missing_ok=True)
    with pytest.raises(RoundFailed, match="refused: east, north, south"):
        here.run(replace(SUMMING, patients=dict.fromkeys(NAMES[:3], 50)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patients": {}}, "takes a \\[patients\\] table"),
        ({"patients": {"north": 10, "south": 10}}, "too few"),
        ({"aggregation": Aggregation("median")}, "no \\[aggregation\\]"),
    ],
)
def test_a_campaign_that_no_sum_can_serve_is_refused(changes: dict[str, object], message: str) -> None:
    """Catches settings that a sum would pass over in silence."""
    with pytest.raises(CampaignError, match=message):
        replace(SUMMING, **changes)  # type: ignore[arg-type]


def test_pruning_removes_a_sums_messages(tmp_path: Path) -> None:
    """Catches messages that stay on the consortium's disk for good once they were said to be removed."""
    here = acquainted(tmp_path, *NAMES[:3])
    here.run(replace(SUMMING, patients=dict.fromkeys(NAMES[:3], 50)))
    assert here.store.prune("spring", 0) == 5 * 3
