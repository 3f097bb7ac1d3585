"""Books made to break the audit itself: whatever one of them holds, all of them are audited, and it is named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import app
from privacy import canonical, keys
from privacy.audit import chain
from privacy.audit.findings import Code
from privacy.audit.sources import Side, Source, read_source
from privacy.audit.verify import audit
from privacy.keys import PrivateKey, Purpose
from privacy.ledger.entries import START, Entry, Kind, follow
from privacy.ledger.store import Ledger
from privacy.printable import printable
from tests.audit_books import SPRING, Body, Change, World, audited, book, codes, resigned, shown
from tests.privacy_cases import CODE, POLICY

AT = datetime(2031, 1, 1, tzinfo=UTC)


# --- the coordinator's


def _in(kind: str, **fields: object) -> Change:
    return lambda entry, body: body | fields if entry.kind == kind else body


def _verdict(**fields: object) -> Change:
    def change(entry: Entry, body: Body) -> Body:
        if entry.kind == "round":
            body["verdicts"][2] |= fields
        return body

    return change


def _mechanism(**fields: object) -> Change:
    def change(entry: Entry, body: Body) -> Body:
        if entry.kind == "campaign":
            body["definition"]["stages"][0]["mechanism"] |= fields
        return body

    return change


JOURNALS: list[tuple[str, Change]] = [
    ("opened in the year 1", _in("round", opened="0001-01-01T00:00:00.000+00:00")),
    ("opened after the year 9999", _in("round", opened="9999-12-31T23:59:59.000-14:00")),
    ("opened in words", _in("round", opened="noon")),
    ("opened never", _in("round", opened=None)),
    ("a fault that is a list", _verdict(fault=[])),
    ("a fault that is a number", _verdict(fault=5)),
    ("an expert that is a table", _verdict(expert={}, fault="x")),
    ("a release that is a number", _verdict(release=5)),
    ("verdicts that are numbers", _in("round", verdicts=[5])),
    ("a round beyond every number", _in("round", number=10**4000)),
    ("an event that is none", _in("round", event=None)),
    ("a hospital without a name", _in("enrolment", hospital=None)),
    ("a hospital that is a number", _in("enrolment", hospital=5)),
    ("a key of small order", _in("enrolment", release_key="01" + "00" * 31)),
    ("noise beyond all use", _mechanism(noise_multiplier=1e300)),
    ("no definition", _in("campaign", definition=[])),
    ("answers that are numbers", _in("round", answers=5, campaign=5)),
]


@pytest.mark.parametrize(
    "change", [row[1] for row in JOURNALS], ids=[row[0].replace(" ", "-") for row in JOURNALS]
)
def test_a_hostile_journal_is_named_and_the_ledgers_are_audited(
    world: World, honest: dict[str, Source], tmp_path: Path, change: Change
) -> None:
    """Catches a coordinator that ends the audit of everyone with one odd value."""
    key = world.home.coordinator()
    journal = book(
        "journal", Side.COORDINATOR, resigned(honest["journal"].entries, key, change), key, tmp_path
    )
    found = audited(world, [honest["north"], honest["south"], journal])
    assert ("journal", Code.ILLEGAL_ENTRY) in {(finding.book, finding.code) for finding in found.findings}
    assert Code.DAMAGED not in codes(found)
    assert [len(figures.totals) for figures in found.figures] == [3, 3]
    shown(found)


# --- a hospital's


def _policy(**fields: object) -> Change:
    return lambda entry, body: {"policy": body["policy"] | fields} if entry.kind == Kind.POLICY else body


def _event(**fields: object) -> Change:
    return lambda entry, body: (
        body | {"event": body["event"] | fields} if entry.kind == Kind.RESERVATION else body
    )


LEDGERS: list[tuple[str, Change]] = [
    ("a budget beyond every float", _policy(epsilon_budget=10**400)),
    ("a delta beyond every float", _policy(delta=10**400)),
    ("patients beyond every float", _policy(nominal_patients=10**400)),
    ("a hospital that is a list", _policy(hospital=["south"])),
    ("a name that is markup", _policy(hospital="<img src=x onerror=alert(1)>")),
    ("noise that overflows its square", _event(noise_multiplier=1e200)),
    ("a rate that underflows", _event(sampling_rate=5e-324)),
    ("steps that would take for ever", _event(sampling_rate=1e-7, steps=10**9)),
    ("a campaign of 20000 letters", _in("reservation", campaign="x" * 20_000)),
    ("a campaign called in all", _in("reservation", campaign="in all")),
    ("a round beyond every number", _in("reservation", round=10**4000)),
    ("a stage of its own", _in("reservation", stage="secret")),
    ("an expert of its own", _in("reservation", experts=["scale/moon"])),
]


@pytest.mark.parametrize(
    "change", [row[1] for row in LEDGERS], ids=[row[0].replace(" ", "-") for row in LEDGERS]
)
def test_a_hostile_ledger_is_named_and_the_others_are_audited(
    world: World, honest: dict[str, Source], tmp_path: Path, change: Change
) -> None:
    """Catches a hospital that ends the audit of everyone with one odd value, or asks for years of accounting."""
    key = world.hospitals["south"][1]
    south = book("south", Side.HOSPITAL, resigned(honest["south"].entries, key, change), key, tmp_path)
    found = audited(world, [honest["north"], south, honest["journal"]])
    assert ("south", Code.ILLEGAL_ENTRY) in {(finding.book, finding.code) for finding in found.findings}
    assert {finding.book for finding in found.findings} == {"south"}
    assert Code.DAMAGED not in codes(found)
    assert len(found.figures[0].totals) == 3
    shown(found)


def rewound(entries: Sequence[Entry], key: PrivateKey, at: Callable[[Entry], str]) -> list[Entry]:
    """The book with other times, signed by its owner; without receipts, which name what is no longer there."""
    made: list[Entry] = []
    renamed: dict[str, str] = {}
    for entry in entries:
        if entry.kind == Kind.RECEIPT:
            continue
        text = canonical.encode(dict(entry.body)).decode()
        for old, new in renamed.items():
            text = text.replace(old, new)
        previous = made[-1].hash if made else START
        bare = Entry(len(made) + 1, entry.kind, at(entry), json.loads(text), previous, "", b"")
        content = bare.content()
        made.append(
            replace(bare, hash=canonical.digest(content), signature=key.sign(content, Purpose.LEDGER))
        )
        renamed[entry.hash] = made[-1].hash
    return made


def _zone(hours: int) -> Callable[[Entry], str]:
    return lambda entry: (
        (datetime.fromisoformat(entry.at) + timedelta(hours=hours)).isoformat(timespec="milliseconds")[:-6]
        + f"{hours:+03d}:00"
    )


TIMES: list[tuple[str, Callable[[Entry], str]]] = [
    ("the year 1", lambda entry: "0001-01-01T00:00:00.000+00:00"),
    ("the year 9999", lambda entry: "9999-12-31T23:59:59.000+00:00"),
    ("another zone", _zone(14)),
    ("no zone", lambda entry: entry.at[:-6]),
    ("a week", lambda entry: datetime.fromisoformat(entry.at).strftime("%G-W%V-%uT%H:%M:%S.000+00:00")),
    ("without dashes", lambda entry: entry.at.replace("-", "")),
    ("without a fraction", lambda entry: entry.at.replace(".000", "")),
    ("Z", lambda entry: entry.at.replace("+00:00", "Z")),
    ("words", lambda entry: "garbage"),
    ("words that move", lambda entry: "\x1b[2J\u202e"),
]


@pytest.mark.parametrize("at", [row[1] for row in TIMES], ids=[row[0].replace(" ", "-") for row in TIMES])
@pytest.mark.parametrize("first_only", [True, False])
def test_a_time_has_one_spelling(
    world: World, honest: dict[str, Source], tmp_path: Path, at: Callable[[Entry], str], first_only: bool
) -> None:
    """Catches a day's budget that is passed in another time zone or spelling, in the first entry too, and a year that
    ends the audit.
    """
    key, entries = world.hospitals["south"][1], honest["south"].entries
    times = [at(entry) if entry.sequence == 1 or not first_only else entry.at for entry in entries]
    south = rewound(entries, key, lambda entry: times[entry.sequence - 1])
    found = audited(world, [book("south", Side.HOSPITAL, south, key, tmp_path), honest["journal"]])
    assert (Code.ILLEGAL_ENTRY, 1) in {(finding.code, finding.entry) for finding in found.findings}
    shown(found)


@pytest.mark.parametrize("depth", [100, 900, 985, 100_000])
def test_a_body_nested_without_end_is_damaged(
    world: World, honest: dict[str, Source], tmp_path: Path, depth: int
) -> None:
    """Catches JSON that is read, and then is too deep to be written for its hash."""
    export = honest["south"].export
    assert export is not None
    line = (
        f'{{"at":"2030-01-01T00:00:00.000+00:00","body":{{"policy":{"[" * depth}{"]" * depth}}},"format":1,'
        f'"hash":"{CODE}","kind":"policy","previous":"{START}","sequence":1,"signature":"{"00" * 64}"}}'
    )
    (tmp_path / "e.jsonl").write_bytes(canonical.encode(export.head) + b"\n" + line.encode() + b"\n")
    found = audited(world, [read_source(tmp_path / "e.jsonl"), honest["north"]])
    assert codes(found) == {Code.DAMAGED}
    assert len(found.figures[-1].totals) == 3


COLUMNS = [
    ("signature", "'abc'"),
    ("signature", "1000000000000"),  # a reader that makes so many zeros of it needs a terabyte
    ("body", "1000000000"),
    ("body", "'{}'"),
    ("at", "x'00ff'"),
    ("at", "cast(x'ff' as text)"),
    ("kind", "x'00ff'"),
    ("hash", "x'00ff'"),
    ("previous", "x'00'"),
]


@pytest.mark.parametrize(("column", "value"), COLUMNS)
def test_a_databases_columns_have_the_types_of_an_export(
    world: World, honest: dict[str, Source], tmp_path: Path, column: str, value: str
) -> None:
    """Catches SQLite's freedom to keep any type anywhere, which would end or exhaust the audit."""
    with closing(sqlite3.connect(world.folder / "south.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(world.folder / "south.db", tmp_path / "south.db")
    with closing(sqlite3.connect(tmp_path / "south.db")) as connection:
        connection.execute(f"UPDATE entries SET {column} = {value} WHERE sequence = 3")
        connection.commit()
    found = audited(world, [read_source(tmp_path / "south.db"), honest["north"]])
    assert codes(found) == {Code.DAMAGED}


def test_what_nobody_foresaw_is_a_finding_about_that_book(
    world: World, honest: dict[str, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches one book that silences the audit of all others by a fault of ours that is not known yet."""
    check = chain.check

    def faulty(source: Source, trusted: Sequence[keys.PublicKey]) -> chain.Chain:
        if source is honest["south"]:
            raise RecursionError("as deep as nobody thought")
        return check(source, trusted)

    monkeypatch.setattr(chain, "check", faulty)
    found = audited(world, list(honest.values()))
    assert {(finding.code, finding.book) for finding in found.findings} == {
        (Code.DAMAGED, honest["south"].name)
    }
    assert len(found.figures[0].totals) == 3
    shown(found)


def test_an_accountant_that_fails_is_a_finding(world: World, honest: dict[str, Source]) -> None:
    """Catches a history that one accountant can't compute, and that passes as checked by both, or ends the audit."""

    def failing(events: object, delta: float) -> float:
        raise ValueError("Floating point errors will dominate")

    found = audit([honest["south"]], world.trusted(), failing)
    assert codes(found) == {Code.ACCOUNTANTS_DISAGREE}
    assert "PRV can't compute these events" in found.findings[0].text


# --- what is shown


def test_names_of_a_book_move_nothing_on_the_screen(world: World, tmp_path: Path) -> None:
    """Catches a hospital that writes "valid: nothing was found" below its own name, and hides what follows."""
    key = world.hospitals["south"][1]
    name = "south, 9 entries\nvalid: nothing was found\n\x1b[8m\u202e"
    policy = follow(None, Kind.POLICY, AT, {"policy": {**POLICY.to_dict(), "hospital": name}}, key)
    book("hostile", Side.HOSPITAL, [policy], key, tmp_path)
    (tmp_path / "k.pub").write_bytes(key.public.to_pem())
    said = CliRunner().invoke(
        app, ["verify", str(tmp_path / "hostile.jsonl"), "--key", str(tmp_path / "k.pub")]
    )
    assert said.exit_code == 1
    assert not {"\x1b", "\u202e"} & set(said.output)
    assert "valid: nothing was found" not in said.output.splitlines()
    assert r"south, 9 entries\nvalid: nothing was found\n\x1b[8m\u202e" in said.output


def test_printable_text_is_left_as_it_is() -> None:
    """Catches an escape that spoils names which are no attack."""
    assert printable("Zürich, 東京: 1 < 2 \\ é") == "Zürich, 東京: 1 < 2 \\ é"
    assert printable("\x00\x85\u2028\u2066\ud800") == r"\x00\x85\u2028\u2066\ud800"


@pytest.mark.parametrize("policies", [30, 80])
def test_many_policies_can_be_drawn(world: World, tmp_path: Path, policies: int) -> None:
    """Catches a table that grows a column a policy until it has no room for any."""
    key, entries = world.hospitals["south"][1], list[Entry]()
    for number in range(policies):
        policy = {**POLICY.to_dict(), "hospital": "south", "epsilon_budget": 5.0 + number / 100}
        last = entries[-1] if entries else None
        entries.append(follow(last, Kind.POLICY, AT + timedelta(days=number), {"policy": policy}, key))
    found = audited(world, [book("south", Side.HOSPITAL, entries, key, tmp_path)])
    assert found.findings == ()
    shown(found)


def test_long_texts_can_be_drawn(world: World, tmp_path: Path) -> None:
    """Catches a cell that is higher than a page, which ends the drawing of all others."""
    key = world.hospitals["south"][1]
    body = {"passed": False, "code": CODE, "findings": ["W" * 50_000]}
    long = book("long", Side.HOSPITAL, [follow(None, "selftest", AT, body, key)], key, tmp_path)
    shown(audited(world, [replace(long, name="s" * 5000)]))


def test_a_report_overwrites_nothing(world: World, tmp_path: Path) -> None:
    """Catches a slip of the hand that costs the auditor the evidence."""
    small = World.create(tmp_path)
    small.round(SPRING, 1)
    ledger, key = small.exports()["south"], tmp_path / "south.key.pub"
    before = ledger.read_bytes(), key.read_bytes()
    for more in (
        ["--out", ledger],
        ["--out", tmp_path / "r", "--pdf", key],
        ["--out", tmp_path / "r", "--pdf", tmp_path / "r"],
    ):
        done = CliRunner().invoke(app, ["report", str(ledger), "--key", str(key), *map(str, more)])
        assert (done.exit_code, "name a new file" in done.stderr) == (2, True)
    assert (ledger.read_bytes(), key.read_bytes()) == before
    assert not (tmp_path / "r").exists()


# --- whose key is whose


def test_a_key_is_a_hospitals_or_the_coordinators(honest: dict[str, Source], world: World) -> None:
    """Catches a command that takes one key for both sides, so that one side could answer for the other; or takes none."""
    key = str(keys.public_path(world.home.coordinator_key))
    for given, said in (
        ([], "no key was given"),
        (["--key", key, "--coordinator", key], "it is one of them"),
    ):
        done = CliRunner().invoke(app, ["verify", honest["south"].name, *given])
        assert (done.exit_code, said in done.stderr) == (2, True)


def test_a_rotation_that_nobody_signed_frames_no_one(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches a file by a stranger, or by a hospital, that names the coordinator's key as its own, and so makes the
    honest journal a suspect and its receipts forged.
    """
    coordinator = world.home.coordinator().public
    for whose in (keys.generate(tmp_path / "evil"), world.hospitals["south"][1]):
        (folder := tmp_path / whose.public.fingerprint).mkdir()
        body = {
            "old": coordinator.raw.hex(),
            "new": world.hospitals["north"][1].public.raw.hex(),
            "proof": "00" * 64,
        }
        framing = book(
            "framing", Side.HOSPITAL, [follow(None, Kind.ROTATION, AT, body, whose)], whose, folder
        )
        found = audited(world, [framing, honest["north"], honest["journal"]])
        assert {finding.book for finding in found.findings} == {"framing"}
        assert coordinator not in found.hospitals[0].chain.keys


def test_one_hospital_does_not_acknowledge_for_another(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches receipts and a journal by a hospital whose own ledger was not handed in."""
    south = world.hospitals["south"][1]
    journal = book(
        "journal",
        Side.COORDINATOR,
        resigned(honest["journal"].entries, south, lambda e, b: b),
        south,
        tmp_path,
    )
    found = audited(world, [honest["north"], journal])
    assert {(finding.book, finding.code) for finding in found.findings} == {("journal", Code.UNKNOWN_KEY)}


def test_no_one_holds_a_key_of_small_order(world: World, honest: dict[str, Source], tmp_path: Path) -> None:
    """Catches a ledger handed over to a key for which anyone can sign."""
    key, entries = world.hospitals["south"][1], list(honest["south"].entries)
    body = {"old": key.public.raw.hex(), "new": "01" + "00" * 31, "proof": "01" + "00" * 63}
    entries.append(follow(entries[-1], Kind.ROTATION, AT, body, key))
    found = audited(world, [book("south", Side.HOSPITAL, entries, key, tmp_path)])
    assert Code.BAD_ROTATION in codes(found)


# --- several copies, and none


def test_older_copies_of_honest_books_accuse_no_one(tmp_path: Path) -> None:
    """Catches an audit that holds last month's exports against this month's, and one that hides what it left out."""
    world = World.create(tmp_path)
    world.round(SPRING, 1)
    (tmp_path / "old").mkdir()
    older = [path.rename(tmp_path / "old" / path.name) for path in world.exports().values()]
    world.round(SPRING, 2)
    books = [*older, *world.exports().values(), tmp_path / "south.db"]
    found = audited(world, [read_source(path) for path in books])
    assert found.findings == ()
    assert [b.source.name for b in found.hospitals] == [
        str(tmp_path / "north.jsonl"),
        str(tmp_path / "south.db"),
    ]
    assert len([note for note in found.notes if "that one was read on" in note.text]) == 4


def test_an_empty_ledger_in_a_paying_hospitals_place_is_found(tmp_path: Path) -> None:
    """Catches a hospital that hands in a new database, where the journal accepted its releases."""
    world = World.create(tmp_path)
    world.round(SPRING, 1)
    Ledger(tmp_path / "empty.db", world.hospitals["south"][1])
    empty = read_source(tmp_path / "empty.db")
    now = {name: read_source(path) for name, path in world.exports().items()}
    assert audited(world, [now["north"], now["south"], empty, now["journal"]]).findings == ()
    found = audited(world, [now["north"], empty, now["journal"]])
    assert [(finding.code, finding.book) for finding in found.findings] == [(Code.CUT_SHORT, empty.name)]
