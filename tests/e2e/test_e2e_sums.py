"""Distributed trust over a real federation: three hospitals, two sums, nothing else seen, and books that bear it out."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from client.home import Home
from client.sum_states import SumStates
from privacy import accounting, keys
from privacy.egress_record import MASKED
from privacy.ledger.reading import Summary
from privacy.ledger.store import Ledger
from privacy.mechanism import SHARED
from privacy.secagg.hospital_state import Agreed, Masked
from privacy.secagg.outgoing import PARTS, sender
from privacy.secagg.session import Session
from tests.e2e.conftest import Running, until
from tests.e2e.federation import Federation
from tests.e2e.what_left import parts_that_left
from tests.e2e.wiretap import Wiretap

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("three hospitals")]


def _ledger(home: Home) -> Ledger:
    return Ledger(home.ledger, keys.load(home.release_key))


def _summary(home: Home) -> Summary:
    return _ledger(home).summary()


def _left(home: Home, since: int = 0) -> list[str]:
    """The names of all parts that left, but for the first `since`."""
    return [record.name for _, record in _ledger(home).egress()][since:]


def _audited(federation: Federation, folder: Path, campaign: str) -> dict[str, Any]:
    """Both sides' books, exported, verified and replayed by the real commands: what the journal says of the campaign's
    first sum. Fails on any finding.
    """
    books = [folder / "journal.jsonl"]
    trusted = ["--coordinator", str(keys.public_path(federation.consortium.coordinator_key))]
    given = ["--releases", str(folder / "given")]
    made = [federation.command("export", str(federation.consortium.folder), str(books[0]), *given)]
    for name, home in federation.hospitals.items():
        books.append(folder / f"{name}.jsonl")
        trusted += ["--key", str(keys.public_path(home.release_key))]
        made.append(federation.command("export", str(home.folder), str(books[-1]), of="client.cli"))
    assert all(export.returncode == 0 for export in made), [export.stderr for export in made]
    found = federation.command("verify", *map(str, books), *trusted, "--json", of="auditor.cli")
    told = json.loads(found.stdout)
    assert (found.returncode, told["findings"]) == (0, [])
    assert not [note for note in told["notes"] if "not acknowledged" in str(note)]
    for hospital in told["hospitals"]:
        home = federation.hospitals[hospital["hospital"]]
        paid = accounting.epsilon(_summary(home).events, home.policy.delta)
        assert hospital["totals"][0]["epsilon"] == pytest.approx(paid, abs=0.01)
    replay = ["replay", str(books[0]), str(folder / "given"), *trusted[:2], "--json"]
    found = federation.command(*replay, of="auditor.cli")
    told = json.loads(found.stdout)
    assert (found.returncode, told["findings"]) == (0, [])
    assert told["rounds"]
    assert all(held["same"] for held in told["rounds"])
    bodies = [json.loads(line).get("body", {}) for line in books[0].read_text().splitlines()]
    first, *_ = [body for body in bodies if body.get("campaign") == campaign and "sum" in body]
    return dict(first["sum"])


def test_a_sum_is_committed_and_nothing_but_its_messages_leave(sharing: Running, tmp_path: Path) -> None:
    """Catches a break anywhere on the way from recorded peers to the committed sum, a byte of a hospital's own or a message
    of no known kind at an agent's socket, and books of the two sides that do not bear each other out.
    """
    federation = sharing.federation
    taps = {name: Wiretap(home) for name, home in federation.hospitals.items()}
    try:
        done = federation.run(federation.sums("spring", rounds=2))
    finally:
        for name, tap in taps.items():
            tap.remove(federation.hospitals[name])
    assert done.returncode == 0, done.stdout + done.stderr
    assert federation.status("spring")["state"] == "done"
    said = _audited(federation, tmp_path, "spring")
    assert said["hospitals"] == sorted(federation.hospitals)
    session = Session.from_bytes(said["session"].encode())
    for name, home in federation.hospitals.items():
        parts = parts_that_left(home, taps[name])
        counted = Counter(part for part, _ in parts if part != "code")
        assert counted == {"description": 1, **dict.fromkeys(PARTS.values(), 2)}
        first: dict[str, bytes] = {}
        for part, value in parts:
            first.setdefault(part, value)
        assert all(sender(part, first[part], session) == name for part in PARTS.values())
        summary = _summary(home)
        assert [event.mechanism for event in summary.events] == [SHARED] * 2
        assert (summary.spent, summary.reserved, summary.receipts) == (2, 0, 2)
        assert list(home.sums.iterdir()) == [], "the receipt of the last round ended it"


@pytest.mark.nightly
def test_a_hospital_killed_once_its_masked_sum_has_left_answers_again_and_pays_once(
    sharing: Running, tmp_path: Path
) -> None:
    """Catches a round that is lost, though all have paid for it, with one agent that is started again; a second charge or
    masked sum; and a hospital that forgets, with its process, whose shares it holds.
    """
    federation, (north, coast) = (
        sharing.federation,
        (sharing.federation.hospitals[name] for name in ("north", "coast")),
    )
    before = {name: _summary(home) for name, home in federation.hospitals.items()}
    since = {home: len(_ledger(home).egress()) for home in (north, coast)}
    campaign, done = federation.sums("autumn", rounds=1), list[str]()
    runner = threading.Thread(target=lambda: done.append(federation.run(campaign).stderr))
    runner.start()
    until(lambda: "deal" in _left(coast, since[coast]), "coast has dealt")
    paused = sharing.agents["coast"].process.pid
    os.killpg(paused, signal.SIGSTOP)  # so that no sum can be opened before north is dead
    try:
        until(lambda: MASKED in _left(north, since[north]), "north's masked sum has left")
        sharing.agents["north"].kill()
    finally:
        os.killpg(paused, signal.SIGCONT)
    assert isinstance(SumStates(north.sums).read("autumn"), Masked | Agreed)
    assert "opening" not in _left(north, since[north])
    until(lambda: "survivors" in _left(coast, since[coast]), "coast was told of the survivors")
    sharing.restart_agent("north")
    runner.join()
    assert federation.status("autumn")["state"] == "done", done
    for name, home in federation.hospitals.items():
        summary = _summary(home)
        assert summary.spent - before[name].spent == 1
        assert len(summary.events) - len(before[name].events) == 1
    masked = {record.sha256 for _, record in _ledger(north).egress()[since[north] :] if record.name == MASKED}
    assert len(masked) == 1
    assert _audited(federation, tmp_path, "autumn")["hospitals"] == sorted(federation.hospitals)
