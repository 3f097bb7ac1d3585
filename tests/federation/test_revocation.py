"""Revoked while a campaign runs: what the hospital sent counts no more, whatever it had sent by then, and is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from privacy.audit import chain
from privacy.audit.journal import read_journal
from privacy.audit.sources import read_source
from server import journal
from server.errors import EvaluationFailed, RoundFailed
from tests.federation.test_noised_evaluation import NOISED, faults, house
from tests.federation.test_rounds import CAMPAIGN, SFT, World, world
from tests.federation.test_sums import NAMES, SUMMING, acquainted, summed

ONE_ROUND = replace(CAMPAIGN, stages=(replace(SFT, rounds=1),))


def revoked_after(here: World, name: str, method: str, step: bytes = b"") -> None:
    """Have a hospital revoked at the moment at which it has answered this."""
    hospital = here.hospitals[name]
    answer = hospital.answer

    def then_revoked(asked: str, parts: dict[str, bytes]) -> dict[str, bytes]:
        answered = answer(asked, parts)
        if asked == method and parts.get("step", b"") == step and name in here.store.hospitals():
            here.store.revoke(name, "its key was stolen")
        return answered

    hospital.answer = then_revoked  # type: ignore[method-assign]


def test_a_revoked_hospital_is_not_asked(tmp_path: Path) -> None:
    """Catches a plan, and experts, that go to a hospital which is no longer one."""
    here = world(tmp_path, "north", "south", "east")
    here.store.revoke("east", "left")
    here.run(ONE_ROUND)
    assert here.hospitals["east"].asked == []
    assert here.faults_of(1, "east") == set()


def test_releases_of_a_hospital_that_was_revoked_before_the_commit_do_not_count(tmp_path: Path) -> None:
    """Catches a stolen key whose release is in the model, because it came a second before the revocation."""
    here = world(tmp_path, "north", "south", "east")
    revoked_after(here, "east", "train")
    here.run(ONE_ROUND)
    (row,) = here.shown()["rounds"]
    assert row["attempts"] == 2
    assert here.faults_of(1, "east") == {"revoked"}
    assert here.faults_of(1, "north") == {None}
    for report in row["aggregates"].values():
        assert set(report["drift"]["hospitals"]) == {"north", "south"}
    journal.export(
        path := tmp_path / "journal.jsonl", here.store.journal(), here.home.coordinator(), here.clock.now()
    )
    source = read_source(path)
    book = read_journal(source, chain.check(source, [here.home.coordinator().public]))
    assert book.findings == ()
    assert "east" not in book.rounds[0].keys
    kept = {file.stem for file in (here.home.folder / "releases").iterdir()}
    (told,) = [entry.body for entry in here.store.journal() if entry.kind == "round"]
    accepted = {verdict["release"] for verdict in told["verdicts"] if verdict["fault"] is None}
    assert kept == accepted, "what does not count is not kept either"


def test_where_the_rest_are_too_few_nothing_is_committed(tmp_path: Path) -> None:
    """Catches a quorum that a revoked hospital still fills."""
    here = world(tmp_path, "north", "south")
    revoked_after(here, "south", "train")
    with pytest.raises(RoundFailed):
        here.run(ONE_ROUND)
    assert here.shown()["rounds_committed"] == 0


def test_a_sum_with_a_revoked_hospital_in_it_is_given_up(tmp_path: Path) -> None:
    """Catches a part that can't be taken out of a sum any more, and stays in it."""
    here = acquainted(tmp_path, *NAMES)
    revoked_after(here, "west", "sum", b"reveal")
    with pytest.raises(RoundFailed, match="west was revoked"):
        here.run(SUMMING)
    assert here.store.states("spring") == here.store.states("spring", 0)
    assert summed(here)["hospitals"] == []
    assert here.faults_of(1, "west") == {"revoked"}


def test_noised_counts_of_a_revoked_hospital_are_refused(tmp_path: Path) -> None:
    """Catches counts that a stolen key signed."""
    here = house(tmp_path, "north", "south", "east")
    revoked_after(here, "east", "evaluate_noised")
    here.run(NOISED)
    assert faults(here) == {"north": None, "south": None, "east": "revoked"}


def test_figures_of_a_revoked_evaluator_are_refused(tmp_path: Path) -> None:
    """Catches figures from whoever holds the evaluator's node."""
    here = world(tmp_path, "north", "south", evaluator=True)
    revoked_after(here, "judge", "evaluate")
    with pytest.raises(EvaluationFailed, match="revoked"):
        here.run(replace(ONE_ROUND, evaluate="stages"))
    assert here.shown()["evaluations"] == []


def test_a_hospital_that_is_revoked_between_roll_and_round_is_left_out(tmp_path: Path) -> None:
    """Catches a round that falls over one who was there when the roll was called."""
    here = world(tmp_path, "north", "south", "east")
    revoked_after(here, "east", "describe")
    here.run(ONE_ROUND)
    assert here.hospitals["east"].asked == ["describe"]
    assert here.faults_of(1, "east") == set()
