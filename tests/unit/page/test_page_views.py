"""What pages show, as pure functions of the store's rows: tables of what goes in and what must come out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from privacy import canonical
from privacy.accounting import Composition, rounds_left
from privacy.mechanism import MOST_STEPS, SHARED, Event
from server.lineage import Version
from server.page.views import spending, stages
from server.page.views.entries import about
from server.page.views.scores import agreement_charts, score_charts
from server.page.views.spending import History, Limits
from server.page.views.traffic import sent_by_campaign, sent_by_hospital
from server.page.views.under_way import course, phases, under_way
from server.page.views.versions import shown
from server.page.views.words import answer_badge, state_of, trained

STAGES = [("sft", 3), ("grpo", 2)]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    """So many seconds before now, or after."""
    return (NOW + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("committed", "doing", "coming", "after"),
    [
        (0, "starting", "sft round 1 of 3", "sft round 1 of 3"),
        (2, "sft round 3 of 3", "sft round 3 of 3", "grpo round 1 of 2"),
        (3, "evaluating sft", "grpo round 1 of 2", "grpo round 1 of 2"),
        (4, "grpo round 2 of 2", "grpo round 2 of 2", ""),
        (5, "done", "", ""),
    ],
)
def test_what_is_next(committed: int, doing: str, coming: str, after: str) -> None:
    """Catches a step that is one off at the border of two stages, and one that is told as now and as next."""
    assert stages.next_step(STAGES, committed) == coming
    assert stages.after_now(STAGES, committed, doing) == after


@pytest.mark.parametrize(
    ("committed", "usual", "left"),
    [
        (0, {"sft": 10.0, "grpo": 100.0}, 230.0),
        (4, {"sft": 10.0, "grpo": 100.0}, 100.0),
        (5, {"sft": 10.0, "grpo": 100.0}, 0.0),
        (2, {"sft": 10.0, "grpo": None}, None),
        (5, {"sft": 10.0, "grpo": None}, 0.0),
    ],
)
def test_time_left(committed: int, usual: dict[str, float | None], left: float | None) -> None:
    """Catches a forecast for a stage that nobody has seen a round of."""
    assert stages.time_left(STAGES, committed, usual) == left


def test_where_evaluations_lie() -> None:
    """Catches a round's evaluation that is drawn at the campaign's end."""
    points = ["base", "round-2", "sft", "grpo", "odd"]
    assert stages.rounds_at(points, STAGES) == {"base": 0, "round-2": 2, "sft": 3, "grpo": 5, "odd": 5}


def ask(hospital: str, asked: float, answered: float | None = None, answer: str | None = None) -> Any:
    row = {"hospital": hospital, "asked_at": at(asked), "attempt": 1, "answer": answer, "bytes": None}
    return {**row, "answered_at": None if answered is None else at(answered)}


OPENED = {"number": 7, "stage": "sft", "attempts": 1, "opened_at": at(-101), "committed_at": None}


@pytest.mark.parametrize(
    ("asked", "answered", "states", "words"),
    [
        (0, 0, "now coming coming coming", "training"),
        (3, 0, "past now coming coming", "0 of 3 have answered"),
        (3, 2, "past now coming coming", "2 of 3 have answered"),
        (3, 3, "past past now coming", "3 of 3 have answered"),
    ],
)
def test_a_rounds_phase(asked: int, answered: int, states: str, words: str) -> None:
    found = phases(asked, answered)
    assert " ".join(phase.state for phase in found) == states
    assert found[1].words == words


def test_a_round_under_way_is_told_by_hospital_and_by_the_clock() -> None:
    """Catches times that are counted from the wrong moment: from the opening, or to the answer of somebody else."""
    asks = [
        ask("north", -100, -40, "releases"),
        ask("south", -90),
        ask("west", -100, -99, "budget-exhausted"),
    ]
    found = under_way(OPENED, asks, 160.0, 130.0, NOW)
    assert [(one.hospital, one.waited, one.badge.words) for one in found.hospitals] == [
        ("north", 60.0, "answered"),
        ("south", 90.0, "at work"),
        ("west", 1.0, "budget-exhausted"),
    ]
    assert (found.answered, found.asked, found.left_s, found.deadline_s) == (2, 3, 60.0, 30.0)
    assert found.hospitals[2].meaning == "its privacy budget holds no such round"
    assert "usual end" in found.chart
    assert "aggregating" not in found.chart


def test_a_round_that_nobody_was_asked_for_yet_is_told() -> None:
    found = under_way(OPENED, [], None, 130.0, NOW)
    assert (found.answered, found.asked, found.left_s, found.deadline_s) == (0, 0, None, None)
    assert found.chart == ""


def test_once_all_have_answered_the_coordinator_is_at_work() -> None:
    asks = [ask("north", -100, -40, "releases"), ask("south", -100, -30, "releases")]
    assert "aggregating" in under_way(OPENED, asks, None, None, NOW).chart
    drawn = course({**OPENED, "committed_at": at(0)}, [*asks, ask("west", -100)])
    assert "aggregated" in drawn
    assert "no answer" in drawn
    assert course(OPENED, asks) == ""


@dataclass(frozen=True)
class Case:
    """A history, the round to come, and by how much the forecast may fall short."""

    name: str
    history: History
    coming: Event
    short: int = 0


ROUND = Event(1.0, 0.1, 2)
CASES = (
    Case("nothing yet", (), ROUND),
    Case("the same rounds", ((ROUND, 5),), ROUND),
    Case("another kind before", ((Event(2.0, 0.05, 10), 3),), ROUND),
    Case("both", ((Event(2.0, 0.05, 10), 3), (ROUND, 4)), ROUND),
    Case("of the same kind, but longer", ((Event(1.0, 0.1, 3), 3),), ROUND, short=1),
    Case("the budget is spent", ((ROUND, 400),), ROUND),
    Case("a round that no budget holds", (), Event(0.3, 1.0, 50)),
    Case("distributed trust", ((Event(1.0, 0.1, 1, SHARED), 6),), Event(1.0, 0.1, 1, SHARED)),
    Case("local, then distributed trust", ((ROUND, 3),), Event(1.0, 0.1, 1, SHARED)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rounds_ahead_are_the_accountants(case: Case) -> None:
    """Catches a forecast that one search for all hospitals makes more than the accountant's own says for this one."""
    limits = Limits(8.0, 1e-5)
    events = [event for event, times in case.history for _ in range(times)]
    own = rounds_left(Composition.of(events), case.coming, limits.epsilon_budget, limits.delta)
    assert spending.rounds_ahead(case.history, case.coming, limits) == own - case.short


def test_rounds_are_counted_no_further_than_said() -> None:
    assert spending.rounds_ahead((), Event(100.0, 0.001, 1), Limits(8.0, 1e-5)) == spending.COUNTED_TO


def test_more_steps_than_an_event_holds_have_an_epsilon() -> None:
    """Catches a history whose sum is no event any more: an error in place of the page."""
    history = ((Event(200.0, 0.001, MOST_STEPS), 3),)
    one = spending.epsilon_of(history[:1], 1e-5)
    assert one > spending.epsilon_of(((Event(200.0, 0.001, MOST_STEPS), 1),), 1e-5) > 0


@pytest.mark.parametrize(
    ("count", "taken"), [(0, ()), (2, ((ROUND, 2),)), (4, ((ROUND, 3), (Event(2.0, 0.1, 2), 1)))]
)
def test_the_first_rounds_of_a_history(count: int, taken: History) -> None:
    history = ((ROUND, 3), (Event(2.0, 0.1, 2), 5))
    assert spending.first(history, count) == taken


def test_an_account_without_a_kit_is_not_invented() -> None:
    found = spending.account("north", ((ROUND, 3),), None, ROUND)
    assert (found.rounds, found.limits, found.left, found.is_over) == (3, None, None, False)


def test_bytes_out_are_those_of_every_asking_or_not_known() -> None:
    """Catches a sum that leaves out what is not known, and so says too little."""
    asked = [
        {"campaign": "a", "stage": "sft", "hospital": "north", "asked": 3},
        {"campaign": "a", "stage": "sft", "hospital": "south", "asked": 2},
        {"campaign": "b", "stage": "sft", "hospital": "north", "asked": 1},
    ]
    each = {("a", "sft"): 10, ("b", "sft"): None}
    assert sent_by_campaign(asked, each) == {"a": 50, "b": None}
    assert sent_by_hospital(asked, each) == {"north": None, "south": 20}


def score(point: str, scale: str, task: str, mean: float, *, further: bool = False) -> dict[str, Any]:
    return {"point": point, "scale": scale, "task": task, "mean": mean, "low": mean, "high": mean} | {
        "further": further
    }


def test_a_version_has_the_scores_of_when_it_stood() -> None:
    """Catches a score that is another version's, another expert's, or of when the expert was switched off."""
    on = {"scale/roi": "r2"}
    versions = [
        Version("scale/roi", 0, "start", "r0", None, {}),
        Version("task/vqa", 0, "start", "v0", None, {"scale/roi": "r0"}),
        Version("scale/roi", 1, "sft", "r1", "r0", {}),
        Version("scale/roi", 2, "sft", "r2", "r1", {}),
        Version("task/vqa", 3, "grpo", "v3", "v0", on),
    ]
    points = [
        score("base", "roi", "vqa", 0.1),
        score("round-1", "roi", "vqa", 0.2),
        score("sft", "roi", "vqa", 0.3),
        score("sft", "wsi", "vqa", 0.4),
        score("sft", "roi", "vqa", 0.9, further=True),
        score("grpo", "roi", "vqa", 0.5),
        score("grpo", "wsi", "vqa", 0.6),
    ]
    agreed = [{"expert": "scale/roi", "number": 2, "cosine": 0.7}]
    places = {"base": 0, "round-1": 1, "sft": 2, "grpo": 3}
    found = {(one.version.expert, one.version.round): one for one in shown(versions, points, places, agreed)}
    scores = {key: {s.point: dict(s.scores) for s in one.scores} for key, one in found.items()}
    assert scores == {
        ("scale/roi", 0): {},
        ("task/vqa", 0): {},
        ("scale/roi", 1): {"round-1": {"vqa": 0.2}},
        ("scale/roi", 2): {"sft": {"vqa": 0.3}, "grpo": {"vqa": 0.5}},
        ("task/vqa", 3): {"grpo": {"roi vqa": 0.5, "wsi vqa": 0.6}},
    }
    assert [key for key, one in found.items() if one.stands] == [("scale/roi", 2), ("task/vqa", 3)]
    assert found["task/vqa", 3].on == (("scale/roi", 2, "r2"),)
    assert (found["scale/roi", 2].parent_round, found["scale/roi", 0].parent_round) == (1, None)
    assert (found["scale/roi", 2].agreement, found["scale/roi", 1].agreement) == (0.7, None)


def test_charts_leave_out_what_is_not_there() -> None:
    one = score("base", "roi", "vqa", 0.1)
    assert score_charts([one], {"base": 0}) == []
    assert len(score_charts([one, score("sft", "roi", "vqa", 0.2)], {"base": 0, "sft": 3})) == 1
    hidden = {"number": 1, "expert": "scale/roi", "cosine": None}
    assert agreement_charts([hidden]) == []
    assert len(agreement_charts([hidden, {"number": 2, "expert": "task/vqa", "cosine": -0.2}])) == 1


@pytest.mark.parametrize(
    ("state", "held", "alive", "words"),
    [
        ("running", None, True, "running"),
        ("running", None, False, "running, but no process runs it"),
        ("running", "2026", True, "running, pauses after this round"),
        ("paused", "2026", True, "paused"),
        ("done", None, False, "done"),
        ("failed", None, False, "failed"),
    ],
)
def test_a_campaigns_state_in_words(state: str, held: str | None, alive: bool, words: str) -> None:
    assert state_of({"state": state, "held_at": held}, alive).words == words


def test_what_a_hospital_trains_in_words() -> None:
    assert trained(None) == "not met yet"
    assert trained(["scale/roi", "task/vqa"]) == "scale/roi, task/vqa"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"campaign": "spring", "number": 7, "verdicts": []}, "spring, round 7"),
        ({"definition": {"name": "spring", "seed": 7}}, "spring"),
        ({"campaign": "spring", "by": "cora"}, "spring, by cora"),
        ({"hospital": "north", "release_key": "ab"}, "north"),
        ({"campaign": {"odd": 1}, "by": [1]}, ""),
        (["a", "list"], ""),
    ],
)
def test_what_an_entry_is_about(body: Any, words: str) -> None:
    """Catches a body of another form that ends the page, and more of it shown than what it is about."""
    assert about(canonical.encode(body)) == words
    assert about(b"no JSON") == ""


def test_an_unknown_answer_is_no_good_one() -> None:
    """Catches a hostile word that is drawn as if all were well."""
    assert answer_badge("fine").level != "fine"
