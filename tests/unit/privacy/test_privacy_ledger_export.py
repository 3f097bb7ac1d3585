"""A ledger's export: all of it, verifiable alone; whatever was done to the file is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy import canonical, keys
from privacy.errors import LedgerError
from privacy.ledger.export import read_export, verify_export, write_export
from privacy.ledger.store import Ledger
from privacy.receipt import ACCEPTED, Receipt
from tests.privacy_cases import CODE, PLAN, POLICY, Hospital, hospital, round_of

AT = "2030-01-01T00:00:00+00:00"
Lines = list[bytes]


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A hospital that paid for two rounds, has a receipt, and rotated its key in between; `key` is the new one."""
    home = hospital(tmp_path_factory.mktemp("north"))
    coordinator = keys.generate(home.folder / "coordinator.key")
    ledger = home.ledger()
    paid = ledger.reserve(PLAN, POLICY, CODE)
    ledger.spend(paid, {"scale/roi": b"one"})
    digests = {"scale/roi": canonical.digest(b"one")}
    receipt = Receipt("north", "spring", 1, PLAN.hash, digests, {"scale/roi": ACCEPTED}, paid.hash)
    ledger.receipt(receipt.sign(coordinator), coordinator.public)
    new = keys.generate(home.folder / "new.key")
    ledger.rotate(new)
    ledger.spend(ledger.reserve(round_of(2), POLICY, CODE), {"scale/roi": b"two"})
    write_export(home.folder / "export.jsonl", ledger.entries(), new, AT)
    return Hospital(home.folder, new)


@pytest.fixture
def lines(north: Hospital) -> Lines:
    return (north.folder / "export.jsonl").read_bytes().splitlines(keepends=True)


def test_an_export_holds_the_whole_ledger_and_verifies_alone(north: Hospital) -> None:
    """Catches an entry, receipt or signature that is lost on the way into the file, and release bytes in it."""
    export = read_export(north.folder / "export.jsonl")
    ledger = Ledger(north.path, north.key)
    assert list(export.entries) == ledger.entries()
    for trusted in (north.key.public, keys.load(north.folder / "release.key").public):
        account = verify_export(export, trusted)
        assert account.events() == ledger.summary().events
        assert account.receipts == {("spring", 1)}
    assert len({line[:1] for line in (north.folder / "export.jsonl").read_bytes().splitlines()}) == 1
    with pytest.raises(LedgerError, match="entry 1: the signature"):
        verify_export(export, keys.load(north.folder / "coordinator.key").public)


def _head(lines: Lines, **changes: object) -> Lines:
    return [canonical.encode({**json.loads(lines[0]), **changes}) + b"\n", *lines[1:]]


def _without_last(lines: Lines) -> Lines:
    return _head(lines[:-1], entries=len(lines) - 2, head=json.loads(lines[-2])["hash"])


SPOILED: list[tuple[str, str, Callable[[Lines], Lines]]] = [
    ("cut short", "was cut short", lambda lines: lines[:-1]),
    ("cut short and counted again", "head was not signed", _without_last),
    ("cut in a line", "line 8 of the export is damaged", lambda lines: [*lines[:-1], lines[-1][:40]]),
    ("an entry out", "entry 4 does not follow", lambda lines: [*lines[:3], *lines[4:]]),
    ("two swapped", "entry 4 does not follow", lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]]),
    ("one twice", "does not follow", lambda lines: [*lines, lines[-1]]),
    ("a digit", "entry 2 was changed", lambda lines: [x.replace(b'"steps":2', b'"steps":1') for x in lines]),
    ("no head", "is no export", lambda lines: lines[1:]),
    ("nothing", "is no export", lambda lines: []),
    ("another format", "is of format 2", lambda lines: _head(lines, format=2)),
    ("another date", "head was not signed", lambda lines: _head(lines, at="2031")),
    ("a signature that is no hex", "head was not signed", lambda lines: _head(lines, signature="x")),
    (
        "white space",
        "line 3 of the export is damaged",
        lambda lines: [*lines[:2], b" " + lines[2], *lines[3:]],
    ),
    ("no table", "line 2 of the export is damaged", lambda lines: [lines[0], b"[]\n"]),
    ("no entry", "line 2 of the export is damaged", lambda lines: [lines[0], b"{}\n"]),
    ("a flood", "over the limit", lambda lines: [lines[0], b"x" * (1 << 22)]),
    ("bytes", "is no export", lambda lines: [b"\xff\x00"]),
]


@pytest.mark.parametrize(
    ("message", "spoil"), [row[1:] for row in SPOILED], ids=[row[0].replace(" ", "-") for row in SPOILED]
)
def test_a_changed_export_is_named(
    north: Hospital, lines: Lines, tmp_path: Path, message: str, spoil: Callable[[Lines], Lines]
) -> None:
    """Catches a file that was cut, reordered or edited and still passes, and any error but ours."""
    (tmp_path / "e.jsonl").write_bytes(b"".join(spoil(lines)))
    with pytest.raises(LedgerError, match=message):
        verify_export(read_export(tmp_path / "e.jsonl"), north.key.public)


def test_an_export_is_never_written_over_or_empty(north: Hospital, tmp_path: Path) -> None:
    """Catches an auditor's file that is replaced, and one that says nothing."""
    entries = Ledger(north.path, north.key).entries()
    with pytest.raises(LedgerError, match="name a new file"):
        write_export(north.folder / "export.jsonl", entries, north.key, AT)
    with pytest.raises(LedgerError, match="nothing to export"):
        write_export(tmp_path / "e.jsonl", [], north.key, AT)
    with pytest.raises(LedgerError, match="give a file"):
        read_export(tmp_path / "none.jsonl")
