"""A ledger that was rewritten shows it: on opening, to its owner and to an auditor."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import app
from privacy import accounting, canonical, keys
from privacy.codes import Refusal
from privacy.errors import LedgerError
from privacy.ledger.entries import Kind, follow, rotation
from privacy.ledger.store import Ledger
from tests.privacy_cases import CODE, PLAN, POLICY, Hospital, hospital, round_of

Change = Callable[[sqlite3.Connection], object]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A ledger with a policy, three spent rounds, a refusal and a voided round."""
    home = hospital(tmp_path_factory.mktemp("north"))
    ledger = home.ledger()
    for number in (1, 2, 3):
        ledger.spend(ledger.reserve(round_of(number), POLICY, CODE), {"scale/roi": b"%d" % number})
    ledger.refuse(Refusal.BUSY, PLAN.hash)
    ledger.void(ledger.reserve(round_of(4), POLICY, CODE))
    return home


@pytest.fixture
def north(written: Hospital, tmp_path: Path) -> Hospital:
    """A copy of it, to spoil."""
    shutil.copy(written.path, tmp_path / "ledger.db")
    return Hospital(tmp_path, written.key)


def edit(sequence: int, old: bytes, new: bytes) -> Change:
    """Change an entry's body, and make its hash fit again."""

    def change(connection: sqlite3.Connection) -> None:
        query = "SELECT kind, at, body, previous FROM entries WHERE sequence = ?"
        kind, at, body, previous = connection.execute(query, (sequence,)).fetchone()
        assert old in body
        body = body.replace(old, new)
        fields = {
            "format": 1,
            "sequence": sequence,
            "kind": kind,
            "at": at,
            "body": json.loads(body),
            "previous": previous,
        }
        digest = canonical.digest(canonical.encode(fields))
        connection.execute(
            "UPDATE entries SET body = ?, hash = ? WHERE sequence = ?", (body, digest, sequence)
        )

    return change


def move(sequence: int, to: int) -> str:
    """Give an entry another place."""
    return f"UPDATE entries SET sequence = {to} WHERE sequence = {sequence}"


def run(*statements: str) -> Change:
    return lambda connection: [connection.execute(statement) for statement in statements]


SIGNED_BY_4 = "(SELECT signature FROM entries WHERE sequence = 4)"
TAMPERING: list[tuple[str, str, Change]] = [
    ("fewer-steps-charged", "entry 2", edit(2, b'"steps":2', b'"steps":1')),
    ("more-noise-claimed", "entry 4", edit(4, b'"noise_multiplier":1.0', b'"noise_multiplier":9.0')),
    ("budget-raised", "entry 1", edit(1, b'"epsilon_budget":8.0', b'"epsilon_budget":9.0')),
    ("body-only", "entry 3", run("UPDATE entries SET body = '{}' WHERE sequence = 3")),
    ("body-no-json", "entry 3", run("UPDATE entries SET body = 'x' WHERE sequence = 3")),
    ("body-no-table", "entry 3", run("UPDATE entries SET body = X'6e756c6c' WHERE sequence = 3")),
    ("back-dated", "entry 3", run("UPDATE entries SET at = '2020-01-01' WHERE sequence = 3")),
    ("kind-changed", "entry 3", run("UPDATE entries SET kind = 'void' WHERE sequence = 3")),
    ("another-signature", "entry 5", run(f"UPDATE entries SET signature = {SIGNED_BY_4} WHERE sequence = 5")),
    ("middle-removed", "entry 4", run("DELETE FROM entries WHERE sequence = 3")),
    ("first-removed", "entry 2", run("DELETE FROM entries WHERE sequence = 1")),
    ("reordered", "entry 4", run(move(4, 99), move(6, 4), move(99, 6))),
    ("closed-up", "entry 8", run("DELETE FROM entries WHERE sequence = 8", move(9, 8), move(10, 9))),
    ("cut-before-a-spend", "removed", run("DELETE FROM entries WHERE sequence >= 7")),
    ("all-removed", "removed", run("DELETE FROM entries")),
    ("kept-release-removed", "removed", run("DELETE FROM outbox WHERE data = X'32'")),
    ("table-dropped", "check the file", run("DROP TABLE outbox")),
]


@pytest.mark.parametrize(
    ("message", "change"), [row[1:] for row in TAMPERING], ids=[row[0] for row in TAMPERING]
)
def test_tampering_is_named(north: Hospital, message: str, change: Change) -> None:
    """Catches a rewritten ledger that opens, or that an auditor with the public key alone passes."""
    with closing(sqlite3.connect(north.path, isolation_level=None)) as connection:
        change(connection)
    (north.folder / "key.pub").write_bytes(north.key.public.to_pem())
    result = CliRunner().invoke(
        app, ["verify", str(north.path), "--key", str(north.folder / "key.pub"), "--json"]
    )
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert said["valid"] is False
    assert any(message in finding["text"] for finding in said["findings"])
    with pytest.raises(LedgerError, match=message):
        north.ledger()


def test_a_kept_release_that_was_exchanged_is_not_sent(north: Hospital) -> None:
    """Catches bytes that leave under the price of others."""
    with closing(sqlite3.connect(north.path, isolation_level=None)) as connection:
        connection.execute("UPDATE outbox SET data = X'39' WHERE data = X'32'")
    with pytest.raises(LedgerError, match="not those that were paid for"):
        north.ledger().sent("spring", 2, round_of(2).hash)


def test_another_key_neither_opens_nor_continues_a_ledger(north: Hospital) -> None:
    """Catches an entry forged by someone without the key, and a ledger opened under a new identity."""
    stranger = keys.generate(north.folder / "stranger")
    with pytest.raises(LedgerError, match=stranger.public.fingerprint):
        Ledger(north.path, stranger)
    ledger = north.ledger()
    forged = follow(
        ledger.entries()[-1], Kind.REFUSAL, datetime.now(UTC), {"code": "busy", "plan": None}, stranger
    )
    with ledger._database.transaction() as transaction:
        transaction.append(forged)
    with pytest.raises(LedgerError, match=f"entry {forged.sequence}"):
        ledger.summary()


def reservation(**changes: object) -> dict[str, object]:
    """A reservation's body: of a round that was spent, unless changed."""
    good = {"campaign": "spring", "round": 1, "stage": "sft", "experts": [], "base": CODE, "plan": CODE}
    good |= {"policy": POLICY.hash, "code": CODE, "event": PLAN.event().to_dict()}
    return good | changes


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.SPEND, {"reservation": "0" * 64, "releases": {}}),
        (Kind.SPEND, {"reservation": "0" * 64, "releases": {"scale/roi": {"sha256": CODE, "bytes": 1}}}),
        (Kind.VOID, {}),
        (Kind.VOID, {"reservation": "0" * 64}),
        (Kind.VOID, {"reservation": ["0" * 64]}),
        (Kind.RESERVATION, reservation()),
        (Kind.RESERVATION, reservation(round=9, policy=CODE)),
        (Kind.RESERVATION, reservation(round=9, event={})),
        (Kind.RESERVATION, reservation(round=9, epsilon=1.0)),
        (
            Kind.RELEASE,
            {
                "destination": CODE,
                "epsilon": 0.0,
                "parts": [{"name": "release/x", "sha256": CODE, "bytes": 1}],
            },
        ),
        (Kind.RELEASE, {"destination": CODE, "epsilon": -1.0, "parts": []}),
        (Kind.RECEIPT, {"receipt": {}, "signed": "00" * 64, "coordinator": CODE}),
        (Kind.ROTATION, {"old": CODE, "new": CODE, "proof": "00" * 64}),
        (Kind.WITHDRAWAL, {"withdrawn": 1, "salt": CODE, "patient": "DOE-1"}),
        (Kind.WITHDRAWAL, {"withdrawn": 1, "salt": "DOE-1"}),
        (Kind.WITHDRAWAL, {"withdrawn": -1, "salt": CODE}),
        (Kind.SELFTEST, {"passed": "yes", "code": CODE, "findings": []}),
        (Kind.REFUSAL, {"code": "slide 17 is unreadable", "plan": None}),
        (Kind.RESERVATION, {"campaign": "spring"}),
        (Kind.RECEIPT, {"receipt": None}),
        ("refund", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_illegal_step_does_not_pass_though_signed(
    north: Hospital, kind: str, body: dict[str, object]
) -> None:
    """Catches a faulty writer with the right key: order and form are checked as well as signatures."""
    ledger = north.ledger()
    last = ledger.entries()[-1]
    with ledger._database.transaction() as transaction:
        transaction.append(follow(last, kind, datetime.now(UTC), body, north.key))
    with pytest.raises(LedgerError, match=f"entry {last.sequence + 1}"):
        north.ledger()


def test_an_entry_dated_before_the_one_before_is_named(north: Hospital) -> None:
    """Catches a hospital that back-dates with its own key, to slip under a daily limit."""
    ledger = north.ledger()
    last = ledger.entries()[-1]
    earlier = replace(last, at="2020-01-01T00:00:00.000+00:00")
    with ledger._database.transaction() as transaction:
        body = {"code": "busy", "plan": None}
        transaction.append(follow(earlier, Kind.REFUSAL, datetime(2020, 1, 2, tzinfo=UTC), body, north.key))
    with pytest.raises(LedgerError, match=f"entry {last.sequence + 1} is dated before"):
        north.ledger()


@pytest.mark.parametrize("spoil", ["proof", "new", "place"])
def test_a_forged_rotation_is_named(north: Hospital, spoil: str) -> None:
    """Catches a thief of the old key who names a new one that never agreed, or moves an old agreement."""
    ledger, new = north.ledger(), keys.generate(north.folder / "new")
    entries = ledger.entries()
    last = entries[-1]
    body = rotation(entries[-2] if spoil == "place" else last, north.key.public, new)
    if spoil == "proof":
        body["proof"] = "00" * 64
    elif spoil == "new":
        body["new"] = keys.generate(north.folder / "other").public.raw.hex()
    with ledger._database.transaction() as transaction:
        transaction.append(follow(last, Kind.ROTATION, datetime.now(UTC), body, north.key))
    with pytest.raises(LedgerError, match=f"entry {last.sequence + 1}: the new key did not take over"):
        ledger.summary()


def test_an_auditor_recomputes_epsilon_where_nothing_may_be_written(north: Hospital) -> None:
    """Catches an audit that needs the private key or write access, or that trusts a stored epsilon."""
    (north.folder / "key.pub").write_bytes(north.key.public.to_pem())
    arguments = ["verify", str(north.path), "--key", str(north.folder / "key.pub")]
    north.path.chmod(0o400)
    north.folder.chmod(0o500)
    try:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        plain = CliRunner().invoke(app, arguments)
    finally:
        north.folder.chmod(0o700)
    (figures,) = json.loads(result.stdout)["hospitals"]
    assert (result.exit_code, figures["entries"], figures["spent"]) == (0, 10, 3)
    assert (figures["voided"], figures["refused"]) == (1, 1)
    total = figures["totals"][0]["epsilon"]
    assert total == pytest.approx(accounting.epsilon([PLAN.event()] * 4, POLICY.delta), abs=1e-3)
    assert f"epsilon in all: {total:.3f}" in plain.stdout


def test_an_audit_of_nothing_says_so(tmp_path: Path) -> None:
    """Catches an empty ledger made, and called valid, where there is none."""
    keys.generate(tmp_path / "k")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "none.db"), "--key", str(tmp_path / "k.pub")])
    assert result.exit_code == 2
    assert "No such file" in result.stderr
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    """Catches a database error that reaches the user as it is."""
    home = hospital(tmp_path)
    home.path.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError, match="check the file"):
        home.ledger()
    with pytest.raises(LedgerError, match="check the folder"):
        Ledger(tmp_path / "no" / "such" / "ledger.db", home.key)


@pytest.mark.parametrize("year", [1, 1969, 3000, 9999])
def test_a_clock_that_is_not_set_writes_nothing(tmp_path: Path, year: int) -> None:
    """Catches an entry whose time no reader takes, which would lock the hospital out of its own ledger."""
    home = hospital(tmp_path)
    ledger = Ledger(home.path, home.key, lambda: datetime(year, 6, 1, tzinfo=UTC))
    with pytest.raises(LedgerError, match="set it"):
        ledger.refuse(Refusal.BUSY, None)
    assert home.ledger().entries() == []
