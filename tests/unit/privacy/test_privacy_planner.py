"""The planner against the accountant itself, and the command that shows it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import app
from privacy import keys
from privacy.accounting import epsilon
from privacy.ledger.entries import Kind, follow
from privacy.ledger.export import write_export
from privacy.mechanism import Event
from privacy.planner import noise_for, outlook
from tests.privacy_cases import PLAN, POLICY, hospital

DELTA = 1e-5
ROUND = Event(1.2, 0.05, 20)
SPENT = (Event(1.0, 0.05, 40), Event(4.0, 1.0, 1))


def test_each_figure_is_the_whole_historys_epsilon() -> None:
    """Catches epsilons that are added up round by round, which says about twice too much."""
    seen = outlook(ROUND, DELTA, 3, SPENT)
    assert seen.spent == pytest.approx(epsilon(SPENT, DELTA), abs=1e-3)
    for number, after in enumerate(seen.after, 1):
        assert after == pytest.approx(epsilon([*SPENT, *[ROUND] * number], DELTA), abs=1e-3)
    assert sum(seen.costs) == pytest.approx(seen.after[-1] - seen.spent)
    assert seen.rounds_left is None


def test_the_first_round_costs_the_most() -> None:
    """Catches a price list that does not fall: for an empty ledger the first round is dearest by far."""
    costs = outlook(ROUND, DELTA, 6).costs
    assert list(costs) == sorted(costs, reverse=True)
    assert costs[0] > 2 * costs[1]


def test_rounds_left_is_where_the_price_list_passes_the_budget() -> None:
    """Catches two answers to one question: the list and the count must agree, with the history counted in."""
    seen = outlook(ROUND, DELTA, 12, SPENT, epsilon_budget=4.0)
    assert seen.rounds_left == sum(after <= 4.0 for after in seen.after)
    assert 0 < seen.rounds_left < 12


def test_the_noise_found_meets_the_target_after_the_history_and_is_hardly_more() -> None:
    """Catches a search that forgets what was spent, or that ends on the unsafe side."""
    sigma = noise_for(6.0, DELTA, 0.05, 20, 10, SPENT)
    assert epsilon([*SPENT, Event(sigma, 0.05, 200)], DELTA) <= 6.0
    assert epsilon([*SPENT, Event(sigma / 1.005, 0.05, 200)], DELTA) > 6.0
    assert sigma > noise_for(6.0, DELTA, 0.05, 20, 10)


@pytest.mark.parametrize(
    ("steps", "target", "expected"),
    [(200, 8.0, 0.787), (200, 3.0, 1.287), (500, 8.0, 0.969), (500, 1.0, 4.302), (2000, 1.0, 8.426)],
)
def test_the_noise_found_agrees_with_the_measured_table(steps: int, target: float, expected: float) -> None:
    """Catches a sigma in another unit, or rounds that are not multiplied in."""
    assert noise_for(target, DELTA, 0.05, steps // 10, 10) == pytest.approx(expected, rel=0.003)


def test_no_noise_costs_without_bound() -> None:
    """Catches NaN prices where every epsilon is infinite."""
    seen = outlook(Event(0.0, 0.05, 20), DELTA, 2, epsilon_budget=8.0)
    assert seen.after == seen.costs == (math.inf, math.inf)
    assert seen.rounds_left == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: outlook(ROUND, DELTA, -1), "rounds"),
        (lambda: outlook(ROUND, 2.0, 1), "delta"),
        (lambda: noise_for(6.0, DELTA, 0.05, 20, 0), "rounds"),
        (lambda: noise_for(1.0, DELTA, 0.05, 20, 10, SPENT), "no noise multiplier"),
        (lambda: noise_for(-1.0, DELTA, 0.05, 20, 10), "epsilon_target"),
    ],
    ids=["negative", "delta", "no-rounds", "spent-already", "negative-target"],
)
def test_what_can_not_be_planned_is_refused(call: object, message: str) -> None:
    """Catches a search without an end, and figures for a question that has no answer."""
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()


def test_the_command_plans_from_nothing() -> None:
    """Catches figures that differ between the words, the JSON and the planner, and the two accountants."""
    asked = ["plan", "--sampling-rate", "0.05", "--steps", "20", "--rounds", "10", "--epsilon", "3"]
    done = CliRunner().invoke(app, [*asked, "--delta", "1e-5", "--json", "--check"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.output)
    assert figures["event"]["noise_multiplier"] == pytest.approx(1.287, rel=0.003)
    assert figures["after"][-1] <= 3.0
    assert figures["second_accountant"] == pytest.approx(figures["after"][-1], abs=0.02)
    words = CliRunner().invoke(app, [*asked, "--delta", "1e-5"]).output
    assert f"{figures['after'][4]:.3f}" in words


@pytest.mark.parametrize("exported", [False, True], ids=["database", "export"])
def test_the_command_plans_from_a_ledger(tmp_path: Path, exported: bool) -> None:
    """Catches a budget or a history that is read wrongly: the rounds left are those that the ledger gives."""
    north = hospital(tmp_path)
    north.releases()
    book = tmp_path / "north.jsonl"
    write_export(
        book, north.ledger().entries(), keys.load(tmp_path / "release.key"), "2030-01-01T00:00:00+00:00"
    )
    plan = replace(PLAN, round=2)
    left = north.ledger().rounds_left(plan, POLICY)
    mechanism = PLAN.mechanism
    settings = {
        "--sampling-rate": str(mechanism.sampling_rate),
        "--steps": str(mechanism.steps),
        "--noise": str(mechanism.noise_multiplier),
        "--rounds": "2",
        "--ledger": str(book if exported else north.path),
        "--key": str(keys.public_path(tmp_path / "release.key")),
    }
    words = [word for setting in settings.items() for word in setting]
    done = CliRunner().invoke(app, ["plan", "--json", *words])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.output)
    assert figures["rounds_left"] == left
    assert figures["spent"] == pytest.approx(north.ledger().epsilon(POLICY.delta), abs=1e-3)


@pytest.mark.parametrize(
    "given",
    [
        ["--noise", "1"],
        ["--noise", "1", "--epsilon", "3", "--delta", "1e-5"],
        ["--delta", "1e-5"],
        *(["--noise", noise, "--delta", "1e-5"] for noise in ("-1", "0", "-0", "nan", "inf")),
        ["--noise", "1", "--delta", "3"],
        ["--noise", "1", "--ledger", "nowhere.db", "--key", "nowhere.pub"],
        ["--noise", "1", "--ledger", "nowhere.db"],
    ],
)
def test_a_question_without_sense_ends_with_status_2_and_a_word(given: list[str]) -> None:
    """Catches a traceback, a figure for a question that was not whole, and a table of infinities."""
    done = CliRunner().invoke(app, ["plan", "--sampling-rate", "0.05", "--steps", "20", *given])
    assert (done.exit_code, done.stdout) == (2, "")
    assert isinstance(done.exception, SystemExit)


def test_a_ledger_without_a_delta_is_named(tmp_path: Path) -> None:
    """Catches a traceback over a signed ledger whose policy is none."""
    north = hospital(tmp_path)
    entry = follow(
        None, Kind.POLICY, datetime(2030, 1, 1, tzinfo=UTC), {"policy": {"hospital": "north"}}, north.key
    )
    write_export(tmp_path / "north.jsonl", [entry], north.key, "2030-01-01")
    given = [
        "--ledger",
        str(tmp_path / "north.jsonl"),
        "--key",
        str(keys.public_path(tmp_path / "release.key")),
    ]
    done = CliRunner().invoke(
        app, ["plan", "--sampling-rate", "0.05", "--steps", "20", "--noise", "1", *given]
    )
    assert (done.exit_code, "missing epsilon_budget, delta" in done.stderr) == (2, True)


def test_looking_far_ahead_is_not_bounded_by_a_rounds_bound() -> None:
    """Catches an outlook over rounds that would be too many steps for one."""
    event = Event(10_000.0, 1.0, 500_000)
    left = outlook(event, 1e-5, 3, epsilon_budget=8.0).rounds_left
    assert left is not None
    assert 3 < left < 1000
    assert noise_for(8.0, 1e-5, 1.0, 500_000, 3) < 10_000
