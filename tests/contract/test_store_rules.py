"""What the consortium's store promises, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sql

from privacy import keys
from privacy.description import Description
from server.campaign import Progress
from server.engine import open_engine
from server.errors import CampaignChanged, EnrolmentError, HospitalRevoked, StoreError
from server.home import store_place
from server.records import Hospital, Invited, NoisedAnswer, Owed, Row
from server.status import status
from server.store import Store
from tests.federation.simulator import initial
from tests.privacy_cases import ASKED
from tests.store_cases import CAMPAIGN, NEW, TRAINED, VERDICTS, Place, commit, opened

NORTH, SOUTH = (
    Hospital(n, keys.of_seed(n.encode() * 6 + b"..").public, n.encode(), False) for n in ("north", "south")
)


@pytest.fixture
def store(place: Place) -> Store:
    store = place.home().store()
    store.enrol(NORTH)
    store.begin(CAMPAIGN, initial(), "1")
    return store


def _row(metric: str) -> Row:
    return Row("roi", "classification", metric, 0.5, 0.25, 0.75, 9, further=metric != "accuracy")


def test_what_is_committed_is_read_by_the_next_process(place: Place, store: Store) -> None:
    """Catches a value that comes back otherwise from one of the databases: bytes, tables, truths, numbers beyond 32 bits."""
    begun = opened(store, 1)
    store.asked(begun, ["north"])
    store.answered(begun, "north", "releases", 2**40)
    store.described("north", Description("north", ("scale/roi",), "ab" * 32, False, "The North"))
    commit(store, 1)
    again = place.home().store()
    assert again.progress("spring") == Progress(1)
    assert again.state(again.states("spring")["scale/roi"]) == NEW
    assert again.hospitals()["north"] == replace(
        NORTH, experts=("scale/roi",), code_hash="ab" * 32, named_as="The North"
    )
    assert again.journal() == store.journal()
    (campaign,) = status(place.home())["campaigns"]
    (row,) = campaign["rounds"]
    assert (row["attempts"], row["seconds"], row["aggregates"]) == (
        2,
        {"wait": 1.0},
        {"scale/roi": {"too_few": False}},
    )
    assert row["asks"][0]["bytes"] == 2**40
    assert row["verdicts"][0]["noise_std"] == 0.1


def test_a_campaign_is_taken_up_only_under_its_own_definition(store: Store) -> None:
    """Catches a definition that one database spells otherwise, and so a campaign that can't be gone on with."""
    commit(store, 1)
    store.begin(CAMPAIGN, initial(), "2")
    assert store.progress("spring") == Progress(1)
    with pytest.raises(CampaignChanged):
        store.begin(replace(CAMPAIGN, seed=8), initial(), "3")
    assert [entry.kind for entry in store.journal()] == ["enrolment", "campaign", "round"]


def test_a_round_asked_again_has_the_same_bytes_and_stands_once(store: Store) -> None:
    """Catches a plan that comes back changed: a hospital would be charged for the same round twice."""
    first, second = opened(store, 1), opened(store, 1)
    assert (first.attempt, second.attempt) == (1, 2)
    assert (first.plan, first.signature, first.opened_at) == (second.plan, second.signature, second.opened_at)
    commit(store, 1)
    with pytest.raises(StoreError, match="can't be committed"):
        store.commit_round(first, TRAINED, VERDICTS, {}, {}, keep_releases=False)
    with pytest.raises(StoreError, match="can't begin"):
        store.open_round(replace(first.plan, round=3))


def test_a_commit_that_fails_leaves_nothing(place: Place, store: Store) -> None:
    """Catches a round without its receipts, or without its entry in the journal."""
    begun, before = opened(store, 1), store.journal()
    with pytest.raises(StoreError):
        store.commit_round(begun, TRAINED, VERDICTS, {"north": None}, {}, keep_releases=False)  # type: ignore[dict-item]
    again = place.home().store()
    assert (again.progress("spring"), again.journal(), again.owed()) == (Progress(0), before, {})
    commit(again, 1)


def test_a_revoked_hospitals_release_is_not_committed(store: Store) -> None:
    """Catches a revocation that comes between the answer and the commit, and is not seen there."""
    begun = opened(store, 1)
    store.revoke("north", "left")
    with pytest.raises(HospitalRevoked):
        store.commit_round(begun, TRAINED, VERDICTS, {}, {}, keep_releases=False)
    with pytest.raises(EnrolmentError, match="never enrolled twice"):
        store.enrol(NORTH)
    assert store.progress("spring") == Progress(0)


def test_receipts_are_owed_oldest_first_until_they_are_taken(store: Store) -> None:
    """Catches an order that only SQLite's hidden row numbers gave, and a receipt that is delivered for another's."""
    for number in (1, 2, 3):
        commit(store, number)
    for number in (1, 2, 3):
        owed = store.owed()
        assert owed["north"] == Owed("spring", number, "north", b"receipt %d" % number)
        assert owed["south"].number == 1
        store.delivered(owed["north"], "kept")
    assert set(store.owed()) == {"south"}


def test_evaluations_stand_in_the_order_in_which_they_were_committed(place: Place, store: Store) -> None:
    """Catches evaluations that are shown by the alphabet, and one that is committed twice."""
    store.commit_evaluation("spring", "sft", [_row("f1"), _row("accuracy")], 0)
    store.commit_evaluation("spring", "base", [_row("accuracy")], 0)
    (campaign,) = status(place.home())["campaigns"]
    shown = [(row["point"], row["metric"]) for row in campaign["evaluations"]]
    assert shown == [("sft", "f1"), ("sft", "accuracy"), ("base", "accuracy")]
    assert store.evaluation("spring", "sft") == [_row("f1"), _row("accuracy")]
    with pytest.raises(StoreError):
        store.commit_evaluation("spring", "base", [_row("accuracy")], 0)
    assert [entry.kind for entry in store.journal()].count("evaluation") == 2


def test_a_noised_evaluation_is_asked_with_its_first_bytes_and_committed_once(
    place: Place, store: Store
) -> None:
    """Catches an answer without counts that comes back as something else than nothing."""
    first = store.open_evaluation(ASKED)
    assert store.open_evaluation(replace(ASKED, noise_multiplier=5.0)) == first
    store.commit_noised(ASKED, [NoisedAnswer("north", "internal")])
    with pytest.raises(StoreError, match="can't be committed"):
        store.commit_noised(ASKED, [])
    (campaign,) = status(place.home())["campaigns"]
    (found,) = campaign["noised_evaluations"]
    assert (found["hospitals"], found["pooled"]) == (
        [{"hospital": "north", "fault": "internal", "kinds": []}],
        [],
    )


def test_an_invitation_is_used_once(store: Store) -> None:
    """Catches an invitation that two hospitals answer."""
    ticket = keys.of_seed(b"t" * 32).public
    store.invite(ticket, Invited("south", False, "2999-01-01T00:00:00.000+00:00"))
    store.enrol(SOUTH, ticket)
    with pytest.raises(EnrolmentError):
        store.enrol(replace(SOUTH, name="west"), ticket)
    assert sorted(store.hospitals()) == ["north", "south"]


def test_a_changed_journal_is_found_at_opening(place: Place, store: Store) -> None:
    """Catches a database whose owner edits the record unseen."""
    commit(store, 1)
    engine = open_engine(store_place(place.folder / "home", place.url), lasting=True)
    with engine.begin() as connection:
        connection.execute(
            sql.text("UPDATE journal SET at = '2020-01-01T00:00:00.000+00:00' WHERE sequence = 2")
        )
    engine.dispose()
    with pytest.raises(StoreError, match="back-dated"):
        place.home().store()


def test_a_key_replaced_is_valid_for_what_was_opened_before(store: Store) -> None:
    """Catches a former key that is lost, or counts for ever."""
    from privacy.handover import Handover

    old, new = keys.of_seed(b"north" * 6 + b".."), keys.of_seed(b"n" * 32)
    store.replace_key("north", [Handover.make("north", old, new.public)])
    since = store.release_keys("2000-01-01T00:00:00.000+00:00")
    assert since == {"north": (new.public, old.public)}
    later = datetime(2998, 1, 1, tzinfo=UTC).isoformat()
    assert store.release_keys(later) == {"north": (new.public,)}
