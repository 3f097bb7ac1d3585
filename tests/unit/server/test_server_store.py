"""The store: one transaction a round, files by hash, a journal that shows any change."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from privacy import keys, tensors
from server.campaign import Campaign, Progress, Train, plan_for
from server.errors import EnrolmentError, StoreError
from server.home import Home
from server.records import Hospital, Owed, Row
from server.store import Store
from strategies.definition import Stage
from strategies.intake import Aggregated, Verdict
from tests.federation.simulator import BASE, initial
from tests.privacy_cases import MECHANISM
from tests.store_cases import forget_versions

STAGE = Stage("sft", 3, ("scale/roi",), 0.01, MECHANISM)
CAMPAIGN = Campaign("spring", 7, BASE, 2, 4.0, "experts", 1, 60.0, "never", (STAGE,))
NEW = tensors.encode({"x.lora_B": np.ones((6, 2), np.float32), "y.lora_B": np.ones((3, 2), np.float32)})
MEMORY = tensors.encode({"first/x.lora_B": np.ones((6, 2), np.float32)})
TRAINED = {"scale/roi": Aggregated(NEW, MEMORY, {"too_few": False})}
VERDICTS = [Verdict("north", "scale/roi", None, "ab" * 32, 10, 0.1)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "consortium", "127.0.0.1", 19092)


@pytest.fixture
def store(home: Home) -> Store:
    store = home.store()
    store.begin(CAMPAIGN, initial(), "1")
    return store


def _commit(store: Store, number: int) -> None:
    opened = store.open_round(plan_for(CAMPAIGN, Train(number, number, STAGE), store.states("spring")))
    store.commit_round(
        opened, TRAINED, VERDICTS, {"north": b"receipt %d" % number}, {"wait": 1.0}, keep_releases=False
    )


def test_a_committed_round_is_there_for_the_next_process(home: Home, store: Store) -> None:
    """What a commit returns must be what a fresh process reads."""
    _commit(store, 1)
    again = home.store()
    assert again.progress("spring") == Progress(1)
    assert again.state(again.states("spring")["scale/roi"]) == NEW
    assert again.states("spring")["scale/wsi"] == tensors.digest(initial()["scale/wsi"])


def test_a_commit_that_fails_leaves_nothing(home: Home, store: Store) -> None:
    """One transaction: a round must not stand without its receipts and journal entry."""
    opened = store.open_round(plan_for(CAMPAIGN, Train(1, 1, STAGE), store.states("spring")))
    before = store.journal()
    with pytest.raises(StoreError):
        store.commit_round(opened, TRAINED, VERDICTS, {"north": None}, {}, keep_releases=False)  # type: ignore[dict-item]
    assert home.store().progress("spring") == Progress(0)
    assert home.store().journal() == before


def test_rounds_are_committed_once_and_in_order(store: Store) -> None:
    """A second runner, or a stale one, must not overwrite what stands."""
    opened = store.open_round(plan_for(CAMPAIGN, Train(1, 1, STAGE), store.states("spring")))
    _commit(store, 1)
    with pytest.raises(StoreError, match="can't be committed"):
        store.commit_round(opened, TRAINED, VERDICTS, {}, {}, keep_releases=False)
    with pytest.raises(StoreError, match="can't begin"):
        store.open_round(plan_for(CAMPAIGN, Train(3, 3, STAGE), store.states("spring")))


def test_a_round_keeps_the_plan_of_its_first_asking(store: Store) -> None:
    """A hospital pays for the plan that it signed for: another plan for the same round is refused here already."""
    plan = plan_for(CAMPAIGN, Train(1, 1, STAGE), store.states("spring"))
    first = store.open_round(plan)
    second = store.open_round(plan)
    assert (first.attempt, second.attempt, second.signature) == (1, 2, first.signature)
    other = plan_for(
        CAMPAIGN, Train(1, 1, Stage("sft", 3, ("scale/wsi",), 0.01, MECHANISM)), store.states("spring")
    )
    with pytest.raises(StoreError, match="another plan"):
        store.open_round(other)


def test_a_changed_journal_is_found_at_opening(home: Home, store: Store) -> None:
    """A record that can be edited unseen proves nothing."""
    _commit(store, 1)
    with sqlite3.connect(home.folder / "consortium.db") as database:
        database.execute("UPDATE journal SET body = replace(body, 'north', 'south') WHERE kind = 'round'")
    with pytest.raises(StoreError, match="was changed"):
        home.store()


def test_a_changed_expert_file_is_found_when_read(home: Home, store: Store) -> None:
    """Expert states are named by their hash; other bytes under it must never reach a hospital."""
    digest = store.states("spring")["scale/roi"]
    path = home.folder / "experts" / f"{digest}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(StoreError, match="was changed"):
        store.state(digest)
    path.unlink()
    with pytest.raises(StoreError, match="restore"):
        store.state(digest)


def test_each_hospital_has_a_name_and_keys_of_its_own(store: Store, tmp_path: Path) -> None:
    """A key enrolled twice would let one hospital count twice."""
    key = keys.generate(tmp_path / "a.key").public
    store.enrol(Hospital("north", key, b"node north", evaluator=False))
    for other in (
        Hospital("north", keys.generate(tmp_path / "b.key").public, b"node 2", evaluator=False),
        Hospital("south", key, b"node 3", evaluator=False),
        Hospital("west", keys.generate(tmp_path / "c.key").public, b"node north", evaluator=False),
    ):
        with pytest.raises(EnrolmentError, match="north is enrolled with the same"):
            store.enrol(other)
    assert list(store.hospitals()) == ["north"]


def test_receipts_are_owed_oldest_first_until_taken(store: Store) -> None:
    """A receipt that is forgotten, or sent for ever, would leave the ledgers apart."""
    _commit(store, 1)
    _commit(store, 2)
    first, second = (Owed("spring", number, "north", b"receipt %d" % number) for number in (1, 2))
    assert store.owed() == {"north": first}
    store.delivered(first, "kept")
    assert store.owed() == {"north": second}
    store.delivered(second, "refused")
    assert store.owed() == {}


def test_an_evaluation_is_kept_once(store: Store) -> None:
    """Two evaluations of one point would let the better one be picked."""
    row = Row("roi", "vqa", "token_f1", 0.5, 0.4, 0.6, 10, False)
    store.commit_evaluation("spring", "base", [row], 0)
    assert store.progress("spring").evaluated == {"base"}
    with pytest.raises(StoreError):
        store.commit_evaluation("spring", "base", [row], 0)


def test_a_campaign_that_never_began_has_no_state(store: Store) -> None:
    """Asking after an unknown campaign must not make one."""
    assert store.run_state("autumn") is None
    with pytest.raises(StoreError, match="never begun"):
        store.states("autumn")


def test_what_an_optimiser_remembers_is_that_of_the_experts_last_round(home: Home, store: Store) -> None:
    """An expert that a round left out must go on from where it was, after a restart too; the journal binds it."""
    _commit(store, 1)
    opened = store.open_round(plan_for(CAMPAIGN, Train(2, 2, STAGE), store.states("spring")))
    store.commit_round(opened, {}, [], {}, {}, keep_releases=False)
    assert home.store().memories("spring") == {"scale/roi": MEMORY}
    body = next(entry.body for entry in store.journal() if entry.kind == "round")
    assert body["aggregates"]["scale/roi"] == {
        "memory": tensors.digest(MEMORY),
        "report": {"too_few": False},
    }


def test_releases_are_put_aside_until_the_round_is_committed(store: Store) -> None:
    """A disk that fills up with every round's releases, or another campaign's that are lost with this one's."""
    mine, others = store.put_aside("spring", b"a release"), store.put_aside("autumn", b"another")
    assert mine.read_bytes() == b"a release"
    assert mine.stat().st_mode & 0o777 == 0o600
    _commit(store, 1)
    assert not mine.exists()
    assert others.exists()


def _commit_kept(store: Store, number: int) -> str:
    """A round with one accepted release, kept; its hash."""
    data = b"release %d" % number
    store.put_aside("spring", data)
    opened = store.open_round(plan_for(CAMPAIGN, Train(number, number, STAGE), store.states("spring")))
    verdicts = [Verdict("north", "scale/roi", None, tensors.digest(data), len(data), 0.1)]
    store.commit_round(opened, TRAINED, verdicts, {}, {}, keep_releases=True)
    return tensors.digest(data)


def test_accepted_releases_are_kept_until_they_are_pruned(home: Home, store: Store) -> None:
    """Catches rounds that can't be recomputed, a pruning that takes too much, and one that the journal does not tell of."""
    first, second, third = (_commit_kept(store, number) for number in (1, 2, 3))
    assert home.store().release(first) == b"release 1"
    assert store.journal()[-1].body["kept"] is True
    assert store.prune("spring", 3) == 0
    assert store.journal()[-1].kind == "round"
    assert store.prune("spring", 1) == 2
    assert store.journal()[-1].body == {"campaign": "spring", "through": 2}
    assert store.prune("spring", 1) == 0  # again, as after a crash: nothing more is told
    assert [entry.kind for entry in store.journal()].count("pruning") == 1
    assert store.release(third) == b"release 3"
    for digest in (first, second):
        with pytest.raises(StoreError, match="restore"):
            store.release(digest)


def test_a_round_whose_releases_are_lost_before_they_are_kept_does_not_stand(
    home: Home, store: Store
) -> None:
    """Catches a journal that says of a round that it can be recomputed, and it can't."""
    opened = store.open_round(plan_for(CAMPAIGN, Train(1, 1, STAGE), store.states("spring")))
    with pytest.raises(StoreError, match="check the disk"):
        store.commit_round(opened, TRAINED, VERDICTS, {}, {}, keep_releases=True)
    assert home.store().progress("spring") == Progress(0)


def test_a_kept_release_that_was_changed_is_found_when_read(home: Home, store: Store) -> None:
    """An auditor must not be handed other bytes under a release's hash."""
    digest = _commit_kept(store, 1)
    (home.folder / "releases" / f"{digest}.release").write_bytes(b"another")
    with pytest.raises(StoreError, match="was changed"):
        store.release(digest)


def test_a_database_from_before_there_were_aggregates_opens(home: Home, store: Store) -> None:
    """A consortium that updates FedPath in the middle of a campaign must be able to go on."""
    _commit(store, 1)
    with sqlite3.connect(home.folder / "consortium.db") as database:
        forget_versions(database)
        database.execute("DROP TABLE aggregates")
    again = home.store()
    assert again.memories("spring") == {}
    _commit(again, 2)
    assert again.progress("spring") == Progress(2)
