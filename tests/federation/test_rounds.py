"""Rounds over a simulated grid: what each fault costs, and what a crash of the coordinator leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from privacy import tensors
from server import exchange
from server.campaign import Campaign
from server.database import Patience
from server.errors import CampaignBusy, CampaignChanged, CampaignError, EvaluationFailed, RoundFailed
from server.home import Home
from server.records import Hospital
from server.roll import Roll
from server.rounds import Federation
from server.runner import DATABASE_AWAY_S, check_enrolled, run_campaign
from server.status import status, tables
from server.store import Store
from strategies.definition import Aggregation, Stage
from strategies.optimiser import Optimiser
from tests.federation.simulator import (
    BASE,
    Faults,
    SimulatedClock,
    SimulatedGrid,
    SimulatedHospital,
    initial,
    policy,
)
from tests.privacy_cases import MECHANISM

SFT = Stage("sft", 2, ("scale/roi", "scale/wsi"), 0.01, MECHANISM)
GRPO = Stage(
    "grpo", 1, ("task/classification", "task/detection"), 0.01, MECHANISM, rollouts=4, max_answer_tokens=32
)
CAMPAIGN = Campaign(
    name="spring",
    seed=7,
    base_hash=BASE,
    expert_rank=2,
    expert_alpha=4.0,
    initial="experts",
    quorum=2,
    round_deadline_s=120.0,
    evaluate="never",
    stages=(SFT,),
)


@dataclass
class World:
    """A consortium's home, its hospitals and their grid."""

    home: Home
    clock: SimulatedClock
    hospitals: dict[str, SimulatedHospital]

    @property
    def store(self) -> Store:
        return self.home.store(self.clock.now)

    def house(self) -> Federation:
        """As a new ServerApp process would open it."""
        grid = SimulatedGrid(self.hospitals.values(), self.clock)
        store = self.home.store(self.clock.now, Patience(DATABASE_AWAY_S, self.clock))
        return Federation(grid, store, self.home.coordinator(), self.clock, Roll(grid, store, self.clock))

    def run(self, campaign: Campaign = CAMPAIGN, run_id: str = "1") -> None:
        run_campaign(self.house(), campaign, initial(), run_id)

    def shown(self) -> dict[str, Any]:
        (campaign,) = status(self.home)["campaigns"]
        assert isinstance(campaign, dict)
        return campaign

    def faults_of(self, number: int, name: str) -> set[str | None]:
        """The verdicts on one hospital in one round; None is an accepted release."""
        (row,) = [row for row in self.shown()["rounds"] if row["number"] == number]
        return {v["fault"] for v in row["verdicts"] if v["hospital"] == name}


def world(
    folder: Path,
    *names: str,
    evaluator: bool = False,
    database: str | None = None,
    **policies: dict[str, Any],
) -> World:
    """A world of enrolled hospitals, and an evaluator where asked."""
    home = Home.create(folder / "home", "consortium", "127.0.0.1", 19092, database)
    made = {n: SimulatedHospital(n, folder / n, policy(n, **policies.get(n, {}))) for n in names}
    if evaluator:
        made["judge"] = SimulatedHospital("judge", folder / "judge", policy("judge", public_data=True))
    for name, hospital in made.items():
        hospital.coordinator = home.coordinator().public
        home.store().enrol(Hospital(name, hospital.key.public, hospital.supernode_key, name == "judge"))
    return World(home, SimulatedClock(), made)


def test_campaign_runs_through_both_stages_with_evaluations(tmp_path: Path) -> None:
    """The order of things, and that task rounds carry the frozen scale experts: a wrong order would train on sand."""
    here = world(tmp_path, "north", "south", evaluator=True)
    here.run(replace(CAMPAIGN, stages=(SFT, GRPO), evaluate="stages"))
    shown = here.shown()
    assert (shown["state"], shown["rounds_committed"]) == ("done", 3)
    assert here.hospitals["judge"].stages == ["base", "sft", "grpo"]
    assert [row["point"] for row in shown["evaluations"]] == ["base", "sft", "grpo"]
    start = {name: tensors.digest(data) for name, data in initial().items()}
    changed = {name for name, digest in shown["experts"].items() if digest != start[name]}
    assert changed == {*SFT.experts, *GRPO.experts}
    assert here.store.journal()[-1].kind == "evaluation"


def test_committed_state_is_the_mean_of_the_releases(tmp_path: Path) -> None:
    """The committed bytes are start + mean of what the hospitals signed: a lost or doubled release would show."""
    here = world(tmp_path, "north", "south")
    here.run(replace(CAMPAIGN, stages=(replace(SFT, rounds=1),)))
    (row,) = here.shown()["rounds"]
    opened = here.store
    from privacy.release import Expectation, check  # the consortium's own reading of what was sent

    for expert in SFT.experts:
        start = tensors.decode(initial()[expert], 10**6)
        total = {name: np.zeros(value.shape, np.float32) for name, value in start.items()}  # as it is summed
        for name, hospital in sorted(here.hospitals.items()):
            (data,) = [d for part, d in hospital._last.items() if part == f"release/{expert}"]
            shapes = {expert: {key: value.shape for key, value in start.items()}}
            plan = _plan(here)
            release = check(data, Expectation(plan, {name: hospital.key.public}, shapes, 10**6, 10**6))
            for key, value in release.tensors.items():
                total[key] += value
        wanted = {key: (value + total[key] / 2).astype(np.float32) for key, value in start.items()}
        assert opened.state(here.shown()["experts"][expert]) == tensors.encode(wanted)
    assert row["seconds"].keys() == {"gather", "wait", "aggregate"}


def _plan(here: World) -> Any:
    import sqlalchemy as sql

    from privacy.plan import Plan
    from server import tables

    rows = here.store.read(sql.select(tables.rounds.c.plan).where(tables.rounds.c.number == 1))
    return Plan.from_bytes(rows[0]["plan"])


@dataclass(frozen=True)
class Case:
    """A fault at "west", in a federation of three with quorum 2, and what the record says of west in round 1."""

    name: str
    faults: Callable[[], Faults]
    verdicts: frozenset[str | None]


CASES = (
    Case("not connected", lambda: Faults(offline=True), frozenset()),
    Case("never answers", lambda: Faults(silent=True), frozenset({"no-answer"})),
    Case("slower than the deadline", lambda: Faults(seconds=1000), frozenset()),
    Case("its app crashes", lambda: Faults(crash=True), frozenset({"flower-8"})),
    Case("signs with a key that is not enrolled", lambda: Faults(forged=True), frozenset({"unknown-key"})),
    Case("claims another's name", lambda: Faults(misnamed=True), frozenset()),
    Case("answers twice", lambda: Faults(duplicate=True), frozenset({None})),
    Case("floods the record with names", lambda: Faults(spam=True), frozenset({None})),
    Case("busy for a while", lambda: Faults(busy=3), frozenset({None})),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_neighbour_costs_its_own_contribution_only(case: Case, tmp_path: Path) -> None:
    """One hospital's fault must neither stop the round nor touch the others' releases, and is recorded by name."""
    here = world(tmp_path, "north", "south", "west")
    here.hospitals["west"].faults = case.faults()
    here.run()
    assert here.shown()["state"] == "done"
    assert here.faults_of(1, "west") == case.verdicts
    assert here.faults_of(1, "north") == here.faults_of(1, "south") == {None}


def test_replies_are_taken_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a large round's releases in memory at once: they come as fast as they are asked for."""
    asked: list[int] = []
    pull = SimulatedGrid.pull_messages

    def counted(grid: SimulatedGrid, names: Iterable[str]) -> Iterable[Message]:
        names = list(names)
        asked.append(len(names))
        return pull(grid, names)

    monkeypatch.setattr(exchange, "AT_ONCE", 2)
    monkeypatch.setattr(SimulatedGrid, "pull_messages", counted)
    here = world(tmp_path, "north", "south", "west")
    here.run(replace(CAMPAIGN, quorum=3))
    assert max(asked) == 2
    assert here.shown()["state"] == "done"


def test_a_replayed_release_is_refused_as_such(tmp_path: Path) -> None:
    """Last round's bytes, validly signed, must not count twice."""
    here = world(tmp_path, "north", "south", "west")
    here.hospitals["west"].faults = Faults(stale=True)
    here.run()
    assert here.faults_of(1, "west") == {None}
    assert here.faults_of(2, "west") == {"wrong-round"}


def test_a_hospital_that_comes_back_joins_the_next_round(tmp_path: Path) -> None:
    """A hospital lost in one round must be asked again in the next without anyone's doing."""
    here = world(tmp_path, "north", "south", "west")
    west = here.hospitals["west"]
    west.faults = Faults(silent=True)
    north = here.hospitals["north"]
    answer = north.answer

    def mend(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        if north.asked.count("train") == 1:
            west.faults = Faults()
        return answer(method, parts)

    north.answer = mend  # type: ignore[method-assign]
    here.run()
    assert here.faults_of(1, "west") == {"no-answer"}
    assert here.faults_of(2, "west") == {None}


def test_a_hospital_without_detection_labels_leaves_that_expert_to_the_others(tmp_path: Path) -> None:
    """Its release lacks the expert; the expert must be averaged over those that trained it, not diluted."""
    here = world(tmp_path, "north", "south", south={"tasks": ("classification",)})
    here.run(replace(CAMPAIGN, stages=(GRPO,)))
    (row,) = here.shown()["rounds"]
    given = {(v["hospital"], v["expert"]) for v in row["verdicts"]}
    assert given == {
        ("north", "task/classification"),
        ("north", "task/detection"),
        ("south", "task/classification"),
    }


def test_too_few_commit_nothing_and_say_who_answered_what(tmp_path: Path) -> None:
    """Below the quorum nothing may stand, and the error must name each hospital's own answer."""
    here = world(tmp_path, "north", "south", south={"maximum_steps": 1})
    with pytest.raises(RoundFailed, match=r"south: policy-steps"):
        here.run()
    shown = here.shown()
    assert (shown["state"], shown["rounds_committed"]) == ("failed", 0)
    assert here.hospitals["south"].asked.count("train") == 1, (
        "a refusal for good is not worth a second asking"
    )


def test_quorum_is_tried_again_with_the_same_plan_and_the_same_releases(tmp_path: Path) -> None:
    """A second attempt must cost a hospital that has answered nothing: same plan bytes, same release bytes."""
    here = world(tmp_path, "north", "south")
    here.hospitals["south"].faults = Faults(crash=True)
    with pytest.raises(RoundFailed, match="flower-8"):
        here.run()
    north = here.hospitals["north"]
    assert north.asked.count("train") == 3
    assert north.ledger.summary().spent == 1
    here.hospitals["south"].faults = Faults()
    here.run(run_id="2")
    assert here.shown()["state"] == "done"
    assert north.ledger.summary().spent == CAMPAIGN.rounds


def test_missing_hospitals_are_named(tmp_path: Path) -> None:
    """Waiting for a quorum has an end, and the error says who is missing and what to start."""
    here = world(tmp_path, "north", "south")
    here.hospitals["south"].faults = Faults(offline=True)
    with pytest.raises(RoundFailed, match=r"south \(not connected\)"):
        here.run()
    assert here.clock.seconds >= CAMPAIGN.round_deadline_s


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


@pytest.mark.parametrize("after", range(4))
def test_a_killed_coordinator_goes_on_without_a_double_spend(after: int, tmp_path: Path) -> None:
    """Killed at any train message: the next run goes on from the last commit, and each round is paid once."""
    here = world(tmp_path, "north", "south")
    south, count = here.hospitals["south"], 0
    answer = south.answer

    def kill(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        nonlocal count
        count += method == "train"
        said = answer(method, parts)
        if method == "train" and count == after + 1:
            raise Killed
        return said

    south.answer = kill  # type: ignore[method-assign]
    if after < CAMPAIGN.rounds:
        with pytest.raises(Killed):
            here.run()
        assert here.shown()["rounds_committed"] == after
    here.run(run_id="2")
    assert here.shown()["state"] == "done"
    assert {h.ledger.summary().spent for h in here.hospitals.values()} == {CAMPAIGN.rounds}


def test_hospitals_get_a_receipt_for_every_round(tmp_path: Path) -> None:
    """Both sides hold countersigned copies: a receipt that never arrives would leave the hospital without proof."""
    here = world(tmp_path, "north", "south")
    here.run()
    assert {h.ledger.summary().receipts for h in here.hospitals.values()} == {CAMPAIGN.rounds}
    assert here.store.owed() == {}


def test_receipts_that_piled_up_are_all_delivered_at_the_end(tmp_path: Path) -> None:
    """A hospital that could not take receipts for a while must not be left with the last ones owed for ever."""
    here = world(tmp_path, "north", "south")
    north = here.hospitals["north"]
    answer, lost = north.answer, 2

    def lossy(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        nonlocal lost
        if method == "receipt" and lost:
            lost -= 1
            return {"code": b"internal"}
        return answer(method, parts)

    north.answer = lossy  # type: ignore[method-assign]
    here.run(replace(CAMPAIGN, stages=(replace(SFT, rounds=4),)))
    assert north.ledger.summary().receipts == 4
    assert here.store.owed() == {}


def test_a_finished_campaign_asks_nobody_again(tmp_path: Path) -> None:
    """Running a done campaign must be free."""
    here = world(tmp_path, "north", "south")
    here.run()
    before = {name: list(h.asked) for name, h in here.hospitals.items()}
    here.run(run_id="2")
    assert {name: h.asked for name, h in here.hospitals.items()} == before
    assert here.shown()["state"] == "done"


def test_a_changed_campaign_is_refused(tmp_path: Path) -> None:
    """Continuing under another mechanism would make the record a lie; another deadline is fine."""
    here = world(tmp_path, "north", "south")
    here.run()
    other = replace(SFT, mechanism=replace(MECHANISM, noise_multiplier=0.9))
    with pytest.raises(CampaignChanged, match="another definition"):
        here.run(replace(CAMPAIGN, stages=(other,)))
    here.run(replace(CAMPAIGN, round_deadline_s=5.0, quorum=1))


def test_an_evaluator_that_gives_no_figures_stops_the_campaign_with_its_code(tmp_path: Path) -> None:
    """An evaluation must not be skipped in silence."""
    here = world(tmp_path, "north", "south", evaluator=True)
    here.hospitals["judge"].answer = lambda method, parts: (  # type: ignore[method-assign]
        SimulatedHospital.answer(here.hospitals["judge"], method, parts)
        if method == "describe"
        else {"code": b"internal"}
    )
    with pytest.raises(EvaluationFailed, match="internal"):
        here.run(replace(CAMPAIGN, evaluate="stages"))
    assert "train" not in here.hospitals["judge"].asked


def test_a_private_hospital_can_not_pose_as_the_evaluator(tmp_path: Path) -> None:
    """Enrolment and policy must agree on whose data are public, or metrics of private data would be asked for."""
    here = world(tmp_path, "north", "south", evaluator=True)
    here.hospitals["judge"].policy = policy("judge")
    with pytest.raises(RoundFailed, match="not-an-evaluator"):
        here.run(replace(CAMPAIGN, evaluate="stages"))


def test_what_can_never_work_is_refused_before_it_begins(tmp_path: Path) -> None:
    """Too few enrolled, or no evaluator: said at once, not after a deadline."""
    here = world(tmp_path, "north")
    with pytest.raises(CampaignError, match="quorum = 2"):
        check_enrolled(CAMPAIGN, here.store.hospitals())
    with pytest.raises(CampaignError, match="no evaluator"):
        check_enrolled(replace(CAMPAIGN, quorum=1, evaluate="stages"), here.store.hospitals())


def test_a_campaign_has_one_runner_at_a_time(tmp_path: Path) -> None:
    """Two runners would ask every hospital twice and race for each commit."""
    here = world(tmp_path, "north", "south")
    with here.home.only_runner("spring"):
        assert here.home.is_running("spring")
        with pytest.raises(CampaignBusy), here.home.only_runner("spring"):
            pass
    assert not here.home.is_running("spring")


def test_server_optimisers_go_on_where_a_killed_coordinator_left_them(tmp_path: Path) -> None:
    """The same releases under a kill between two rounds must lead to the same bytes: what an optimiser remembers is kept
    with the round that made it.
    """
    optimised = replace(
        CAMPAIGN, stages=(replace(SFT, rounds=3),), optimiser={"scale/roi": Optimiser("adam", 0.01)}
    )
    here = world(tmp_path, "north", "south")
    south, answer = here.hospitals["south"], here.hospitals["south"].answer

    def kill(method: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        if method == "train" and south.asked.count("train") == 1:
            raise Killed
        return answer(method, parts)

    south.answer = kill  # type: ignore[method-assign]
    with pytest.raises(Killed):
        here.run(optimised)
    first = here.store.memories("spring")
    assert set(first) == {"scale/roi"}
    south.answer = answer  # type: ignore[method-assign]
    here.run(optimised, run_id="2")
    bodies = [entry.body for entry in here.store.journal() if entry.kind == "round"]
    assert bodies[0]["aggregates"]["scale/roi"]["memory"] == tensors.digest(first["scale/roi"])
    assert len({body["aggregates"]["scale/roi"]["memory"] for body in bodies}) == 3
    assert {body["aggregates"]["scale/wsi"]["memory"] for body in bodies} == {None}


def test_only_the_hospitals_that_the_campaign_names_are_asked(tmp_path: Path) -> None:
    """A hospital without a weight must not spend its budget on releases that nothing is made of."""
    here = world(tmp_path, "north", "south", "west")
    here.run(replace(CAMPAIGN, weighting="declared", weights={"north": 3.0, "south": 1.0}))
    assert "train" not in here.hospitals["west"].asked
    (report, *_) = [row["aggregates"]["scale/roi"] for row in here.shown()["rounds"]]
    assert report["shares"] == {"north": 0.75, "south": 0.25}
    assert set(report["drift"]["hospitals"]) == {"north", "south"}
    with pytest.raises(CampaignError, match="name east, but no such hospital"):
        here.run(replace(CAMPAIGN, name="autumn", patients={"north": 100, "east": 100}))


def test_a_hospital_that_states_other_noise_than_agreed_is_left_out(tmp_path: Path) -> None:
    """Its noise is that of 100 patients; weights by noise must not be had by stating more."""
    here = world(tmp_path, "north", "south", "west")
    here.run(
        replace(CAMPAIGN, weighting="noise-matched", patients={"north": 100, "south": 100, "west": 5000})
    )
    assert here.faults_of(1, "west") == {"wrong-noise"}
    assert here.faults_of(1, "north") == {None}


def test_a_rule_that_needs_more_hospitals_leaves_the_expert_as_it_was(tmp_path: Path) -> None:
    """Two of three train detection: a trimmed mean of two would bear nobody, so the expert keeps its bytes, and it is told."""
    here = world(tmp_path, "north", "south", "west", south={"tasks": ("classification",)})
    trimmed = Aggregation(rule="trimmed-mean", hostile=1)
    here.run(replace(CAMPAIGN, stages=(GRPO,), quorum=3, aggregation=trimmed))
    (row,) = here.shown()["rounds"]
    assert {name: told["too_few"] for name, told in row["aggregates"].items()} == {
        "task/classification": False,
        "task/detection": True,
    }
    assert here.shown()["experts"]["task/detection"] == tensors.digest(initial()["task/detection"])
    assert not (here.home.folder / "aside" / "spring").exists()
    (_, _, rounds) = tables(status(here.home))
    assert "left as it was: task/detection" in str(list(rounds.columns[2].cells))
