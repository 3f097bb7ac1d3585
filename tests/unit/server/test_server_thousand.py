"""A round of a thousand hospitals in the consortium's books: written, opened again, exported, audited, read for a replay."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import accounting, canonical
from privacy.audit.sources import read_source
from privacy.audit.verify import Audit, Trusted, audit
from privacy.keys import PrivateKey
from privacy.ledger.database import MAX_BODY
from privacy.ledger.parts import PART, whole
from server.campaign import Campaign, Train, plan_for
from server.evidence import named
from server.home import Home
from server.journal import export
from server.records import Hospital
from server.status import status, tables
from strategies.definition import Stage
from strategies.intake import Aggregated, Verdict
from strategies.told import told_rounds
from tests.federation.simulator import BASE, initial
from tests.privacy_cases import MECHANISM

HOSPITALS = [f"hospital-{number:04}" for number in range(1000)]
EXPERTS = ("task/classification", "task/detection", "task/segmentation", "task/vqa")
STAGE = Stage("grpo", 1, EXPERTS, 0.01, MECHANISM, rollouts=4, max_answer_tokens=32)
WIDE = Campaign("wide", 7, BASE, 2, 4.0, "experts", 1, 60.0, "never", (STAGE,))
# As `strategies.aggregate.Report` has it.
AGREEMENT = {"norm": 1.001, "cosine": 0.01234, "signal_cosine": None}
REPORT = {
    "hospitals": HOSPITALS,
    "too_few": False,
    "shares": dict.fromkeys(HOSPITALS, 0.001),
    "drift": {"hospitals": dict.fromkeys(HOSPITALS, AGREEMENT), "signal_cosine": None},
}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A consortium after such a round; in memory where that can be, as a thousand enrolments wait for the disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        home = Home.create(Path(folder) / "home", "consortium", "127.0.0.1", 19092)
        store = home.store()
        for name in HOSPITALS:
            key = PrivateKey(Ed25519PrivateKey.generate()).public
            store.enrol(Hospital(name, key, f"node {name}".encode(), evaluator=False))
        store.begin(WIDE, initial(), "1")
        opened = store.open_round(plan_for(WIDE, Train(1, 1, STAGE), store.states("wide")))
        store.asked(opened, HOSPITALS)
        for name in HOSPITALS[:990]:
            store.answered(opened, name, "releases", 100)
        verdicts = [
            Verdict(
                name,
                expert,
                None,
                canonical.digest(f"{name} {expert}".encode()),
                100,
                0.1,
                canonical.digest(name.encode()),
            )
            for name in HOSPITALS
            for expert in EXPERTS
        ]
        trained = {name: Aggregated(initial()[name], None, REPORT) for name in EXPERTS}
        store.commit_round(
            opened, trained, verdicts, dict.fromkeys(HOSPITALS, b"receipt"), {}, keep_releases=False
        )
        yield home


def audited(home: Home, folder: Path) -> Audit:
    """What an auditor says of the exported journal."""
    file, key = folder / "journal.jsonl", home.coordinator()
    store = home.store()
    export(file, store.journal(), key, store._now())
    return audit([read_source(file)], Trusted(coordinators=(key.public,)), accounting.epsilon)


def test_no_entry_is_over_the_bound_and_the_store_opens_again(home: Home) -> None:
    """Catches a round's record that only its writer takes: the consortium could not open its own store any more."""
    entries = home.store().journal()
    assert max(len(canonical.encode(dict(entry.body))) for entry in entries) <= MAX_BODY
    assert sum(entry.kind == PART for entry in entries) > 8, "a record of over a MiB must be cut"
    *_, told = whole(entries)
    assert told.sequence == entries[-1].sequence
    assert [v["hospital"] for v in told.body["verdicts"][:: len(EXPERTS)]] == HOSPITALS
    assert len(named(entries)["states"]) == len(set(initial().values()))


def test_an_auditor_reads_the_round(home: Home, tmp_path: Path) -> None:
    """Catches an audit that does not put the record together, and one that a record cut short passes."""
    found = audited(home, tmp_path)
    assert found.findings == ()
    (journal,) = found.journals
    (held,) = journal.rounds
    assert sum(verdict.accepted for verdict in held.verdicts) == len(HOSPITALS) * len(EXPERTS)
    (told,) = told_rounds(journal)
    assert told.body["aggregates"]["task/vqa"]["report"] == REPORT


def test_the_status_table_names_the_few_and_counts_the_many(home: Home) -> None:
    """Catches a cell of a thousand names."""
    (table,) = [table for table in tables(status(home)) if str(table.title).startswith("wide")]
    (answers,) = table.columns[-1].cells
    assert answers == "releases: 990 hospitals; at work: " + ", ".join(HOSPITALS[990:])


def test_in_the_end_a_record_that_lacks_a_part_is_found(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a coordinator that writes a record which its parts don't make: signed and chained, and saying two things."""
    from server import journal

    real = journal.cut
    monkeypatch.setattr(journal, "cut", lambda kind, body: list(real(kind, body))[1:])
    store = home.store()
    with store._database.transaction() as connection:
        body = {"definition": {"name": "x" * 300_000, "stages": []}}
        journal.record(connection, journal.Kind.CAMPAIGN, store._now(), body, home.coordinator())
    texts = [finding.text for finding in audited(home, tmp_path).findings]
    assert any("part of a record" in text for text in texts)
    assert any("malformed at definition" in text for text in texts)
