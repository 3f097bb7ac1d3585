"""After a real campaign, both sides' books in an auditor's hands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from privacy import keys
from privacy.accounting import epsilon
from privacy.evaluation import charge
from privacy.ledger.store import Ledger
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.xdist_group("two hospitals")]


def test_an_audit_of_both_sides_books_finds_nothing_and_all_that_was_paid_for(
    running: Running, tmp_path: Path
) -> None:
    """Catches books that disagree though nobody cheated, noised counts that are not charged, and an export that
    leaves out what happened.
    """
    federation = running.federation
    done = federation.run(federation.campaign("audited", noised=True))
    assert done.returncode == 0, done.stdout + done.stderr
    first, last = federation.status("audited")["noised_evaluations"]
    assert (first["point"], last["point"]) == ("sft", "grpo")
    assert {found["hospital"]: found["fault"] for found in last["hospitals"]} == {
        "north": None,
        "south": None,
    }

    books = [tmp_path / "journal.jsonl"]
    trusted = ["--coordinator", str(keys.public_path(federation.consortium.coordinator_key))]
    given = ["--releases", str(tmp_path / "given")]
    made = [federation.command("export", str(federation.consortium.folder), str(books[0]), *given)]
    paid = {}
    for name, home in federation.hospitals.items():
        if home.policy.public_data:
            continue
        books.append(tmp_path / f"{name}.jsonl")
        trusted += ["--key", str(keys.public_path(home.release_key))]
        made.append(federation.command("export", str(home.folder), str(books[-1]), of="client.cli"))
        events = Ledger(home.ledger, keys.load(home.release_key)).summary().events
        assert events.count(charge(2.0)) == 2
        paid[name] = epsilon(events, home.policy.delta)
    assert [export.returncode for export in made] == [0, 0, 0], [export.stderr for export in made]

    given = [*map(str, books), *trusted]
    found = federation.command("verify", *given, "--json", of="auditor.cli")
    told = json.loads(found.stdout)
    assert told["findings"] == []
    assert found.returncode == 0
    for hospital in told["hospitals"]:
        assert hospital["totals"][0]["epsilon"] == pytest.approx(paid[hospital["hospital"]], abs=0.01)
    report = tmp_path / "report.html"
    assert federation.command("report", *given, "--out", str(report), of="auditor.cli").returncode == 0
    assert "audited" in report.read_text()

    # Every round comes out of the releases again, bit for bit.
    replay = ["replay", str(books[0]), str(tmp_path / "given"), *trusted[:2], "--json"]
    found = federation.command(*replay, of="auditor.cli")
    told = json.loads(found.stdout)
    assert (found.returncode, told["findings"]) == (0, [])
    assert all(held["same"] for held in told["rounds"])
    assert told["rounds"]

    # One entry of a ledger taken out, by whoever has the file.
    lines = books[1].read_bytes().splitlines(keepends=True)
    books[1].write_bytes(b"".join(lines[:-3] + lines[-2:]))
    found = federation.command("verify", *given, "--json", of="auditor.cli")
    assert found.returncode == 1
    assert "broken-chain" in {finding["code"] for finding in json.loads(found.stdout)["findings"]}
