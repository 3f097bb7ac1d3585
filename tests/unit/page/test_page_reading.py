"""What the page asks of the store: the figures of `status`, which loads everything, at a price that rounds do not raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from bench.page_store import NAME, fill
from server.page import reading, reading_all
from server.page.views.traffic import sent_by_campaign, sent_each
from server.store import Store
from tests.federation.simulator import Faults
from tests.federation.test_rounds import CAMPAIGN, GRPO, SFT, World, world


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One good hospital of each kind of bad neighbour: silent, forging, and one whose budget is spent."""
    poor = {"epsilon_budget": 1e-3}
    here = world(
        tmp_path_factory.mktemp("reading"),
        "east",
        "north",
        "poor",
        "south",
        "west",
        evaluator=True,
        poor=poor,
    )
    here.hospitals["west"].faults = Faults(forged=True)
    here.hospitals["east"].faults = Faults(silent=True)
    here.run(replace(CAMPAIGN, stages=(SFT, GRPO), evaluate="stages", round_deadline_s=5.0))
    return here


def test_rounds_are_summed_as_status_lists_them(faulty: World) -> None:
    """Catches a silent hospital that counts as a refused release, and a sum over another round."""
    for row, told in zip(
        reading.rounds(faulty.store, "spring", 1), reversed(faulty.shown()["rounds"]), strict=True
    ):
        verdicts = told["verdicts"]
        assert row["accepted"] == sum(v["fault"] is None for v in verdicts) == 4
        assert row["refused"] == sum(v["fault"] == "unknown-key" for v in verdicts) == 2
        assert row["without"] == sum(v["fault"] in ("no-answer", "budget-exhausted") for v in verdicts) == 2
        assert (row["asked"], row["bytes"]) == (len(told["asks"]), sum(v["bytes"] for v in verdicts))


def test_each_refusal_counts_once(faulty: World) -> None:
    """Catches a code that is counted as an answer and again as a verdict."""
    found = reading_all.refusals(faulty.store)
    assert found == {"east": {"no-answer": 3}, "poor": {"budget-exhausted": 3}, "west": {"unknown-key": 6}}
    assert {row["hospital"] for row in reading_all.refused(faulty.store, 10)} == {"west"}


def test_rounds_count_for_whom_they_were_accepted_from(faulty: World) -> None:
    """Catches rounds counted once for each expert, a forger's rounds, and stages out of order."""
    found = [(row["stage"], row["hospital"], row["rounds"]) for row in reading_all.accepted(faulty.store)]
    assert sorted(found[:2]) == [("sft", "north", 2), ("sft", "south", 2)]
    assert sorted(found[2:]) == [("grpo", "north", 1), ("grpo", "south", 1)]


def test_agreement_is_the_reports_own(faulty: World) -> None:
    """Catches a path into the report that no database follows."""
    told = {
        (row["number"], expert): report["drift"]["signal_cosine"]
        for row in faulty.shown()["rounds"]
        for expert, report in row["aggregates"].items()
    }
    found = {
        (row["number"], row["expert"]): row["cosine"] for row in reading.agreements(faulty.store, "spring")
    }
    assert found == told


def test_bytes_out_are_the_states_of_each_plan(faulty: World) -> None:
    store = faulty.store
    each = sent_each(reading.plans(store), store.state_size)
    one = len(store.state(store.states("spring")["scale/roi"]))
    assert each == {
        ("spring", "sft"): 2 * one,
        ("spring", "grpo"): 5 * one,  # what it trains, on scales and router
    }
    out = sent_by_campaign(reading.sent(store), each)["spring"]
    assert out == sum(
        len(row["asks"]) * (each["spring", row["stage"]] or 0) for row in faulty.shown()["rounds"]
    )


def test_the_mark_changes_with_what_a_page_shows(tmp_path: Path) -> None:
    """Catches a page that stays still while hospitals answer."""
    here = world(tmp_path, "north", "south")
    store, marks = here.store, []
    original = Store.answered

    def answered(self: Store, *args: Any, **more: Any) -> None:
        original(self, *args, **more)
        marks.append(reading_all.mark(store))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "answered", answered)
        here.run(replace(CAMPAIGN, stages=(replace(SFT, rounds=1),)))
    assert len(set(marks)) == 2
    store.journal()
    before = reading_all.mark(store)
    assert before == reading_all.mark(store)
    with pytest.raises(Exception, match="done"):
        store.pause("spring")
    assert before == reading_all.mark(store)


@contextmanager
def rows_read(store: Store) -> Iterator[list[int]]:
    """How many rows each query brought."""
    found: list[int] = []
    original = Store.read

    def read(self: Store, query: sql.Select[Any]) -> list[dict[str, Any]]:
        rows = original(self, query)
        found.append(len(rows))
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "read", read)
        yield found


def test_more_rounds_bring_no_more_rows(tmp_path: Path) -> None:
    """Catches a page that loads all asks or verdicts: what it reads grows with what it shows, and with hospitals."""

    def cost(rounds: int) -> tuple[int, int]:
        store = fill(tmp_path / str(rounds), 4, rounds).store()
        with rows_read(store) as found:
            reading.campaigns(store)
            reading.rounds(store, NAME, 1)
            reading.points(store, NAME)
            reading.came_in(store, NAME)
            reading.sent(store)
            reading.plans(store)
            reading_all.accepted(store)
            reading_all.contacts(store)
            reading_all.refusals(store)
            reading_all.refused(store, 10)
            reading_all.journal(store, 1)
        return len(found), sum(found)

    assert cost(60) == cost(240)
