"""The audit: honest books of both sides pass, and whatever is done to them is found, and named by its code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import app
from privacy import accounting, canonical, keys
from privacy.audit.findings import Code
from privacy.audit.sources import Source, read_source
from privacy.audit.verify import Audit, Trusted, audit
from privacy.keys import Purpose
from tests.audit_books import SPRING, World, audited, codes


def test_honest_books_pass_both_accountants(tmp_path: Path) -> None:
    """Catches an audit that accuses: books as campaigns write them, a key rotated between, from files to exit 0."""
    world = World.create(tmp_path)
    world.live()
    world.rotate("north")
    paths = world.exports()
    arguments = ["verify", *map(str, paths.values())]
    for name in ("north", "south"):
        arguments += ["--key", str(tmp_path / f"{name}.key.pub")]
    arguments += ["--coordinator", str(keys.public_path(world.home.coordinator_key))]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    said = json.loads(result.stdout)
    assert (result.exit_code, said["findings"]) == (0, [])
    north, south = said["hospitals"]
    assert (north["spent"], north["voided"], north["refused"], north["withdrawn"]) == (4, 1, 1, 2)
    assert (len(north["keys"]), len(south["keys"])) == (2, 1)
    assert [total["scope"] for total in north["totals"]] == ["in all", "spring", "autumn"]
    for total in north["totals"]:
        assert total["epsilon"] == pytest.approx(total["second"], abs=0.02)
    assert [note["text"] for note in said["notes"]] == [
        "paid for, and not acknowledged by the coordinator: round 3 of spring"
    ] * 2
    assert "valid: nothing was found" in CliRunner().invoke(app, arguments).stdout


def test_a_key_that_the_ledger_was_rotated_to_vouches_for_all_of_it(tmp_path: Path) -> None:
    """Catches a ledger that can't be audited any more once its first key is destroyed."""
    world = World.create(tmp_path)
    world.round(SPRING, 1)
    world.rotate("north")
    found = audited(world, [read_source(path) for path in world.exports().values()])
    assert found.findings == ()
    assert len(found.hospitals[0].chain.keys) == 2


# --- what a stranger can do: change the bytes

Lines = list[bytes]


def _flip(line: int, field: str) -> Callable[[Lines], Lines]:
    """One bit of a field's value: a hex digit's, or of the body's first letter or digit that is not its form."""

    def spoil(lines: Lines) -> Lines:
        values = json.loads(lines[line])
        if field == "body":
            values["body"]["campaign"] = "spsing"  # "r" and "s" differ in one bit
        else:
            values[field] = f"{int(values[field][0], 16) ^ 1:x}{values[field][1:]}"
        return [*lines[:line], canonical.encode(values) + b"\n", *lines[line + 1 :]]

    return spoil


def _raw_bit(lines: Lines) -> Lines:
    return [*lines[:4], bytes([lines[4][0] ^ 1]) + lines[4][1:], *lines[5:]]


BYTES: list[tuple[str, Code, int | None, Callable[[Lines], Lines]]] = [
    ("a bit of a body", Code.CHANGED, 4, _flip(4, "body")),
    ("a bit of a hash", Code.CHANGED, 4, _flip(4, "hash")),
    ("a bit of a signature", Code.BAD_SIGNATURE, 4, _flip(4, "signature")),
    ("a bit of the link", Code.BROKEN_CHAIN, 4, _flip(4, "previous")),
    ("a bit of the form", Code.DAMAGED, None, _raw_bit),
    ("an entry out", Code.BROKEN_CHAIN, 5, lambda lines: [*lines[:4], *lines[5:]]),
    ("the first out", Code.BROKEN_CHAIN, 2, lambda lines: [lines[0], *lines[2:]]),
    ("two swapped", Code.BROKEN_CHAIN, 5, lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]]),
    ("one twice", Code.BROKEN_CHAIN, 4, lambda lines: [*lines[:5], lines[4], *lines[5:]]),
    ("cut short", Code.CUT_SHORT, None, lambda lines: lines[:-2]),
    ("nothing left", Code.CUT_SHORT, None, lambda lines: lines[:1]),
    ("a bit of the head", Code.HEAD_NOT_SIGNED, None, _flip(0, "head")),
]


@pytest.mark.parametrize(
    ("code", "entry", "spoil"), [row[1:] for row in BYTES], ids=[row[0].replace(" ", "-") for row in BYTES]
)
@pytest.mark.parametrize("whose", ["south", "journal"])
def test_changed_bytes_are_named_with_their_entry(
    world: World,
    honest: dict[str, Source],
    tmp_path: Path,
    whose: str,
    code: Code,
    entry: int | None,
    spoil: Callable[[Lines], Lines],
) -> None:
    """Catches a file that was changed on its way to the auditor, in either book, and a finding at the wrong place."""
    lines = Path(honest[whose].name).read_bytes().splitlines(keepends=True)
    (tmp_path / "e.jsonl").write_bytes(b"".join(spoil(lines)))
    spoiled = read_source(tmp_path / "e.jsonl")
    found = audited(world, [spoiled, *(source for name, source in honest.items() if name != whose)])
    assert (code, entry) in {(finding.code, finding.entry) for finding in found.findings}
    assert all(str(tmp_path / "e.jsonl") in str(finding) for finding in found.findings)


def test_all_that_is_wrong_is_listed(world: World, honest: dict[str, Source], tmp_path: Path) -> None:
    """Catches an audit that stops at the first thing, so that the second is found a week later."""
    lines = Path(honest["south"].name).read_bytes().splitlines(keepends=True)
    spoiled = _flip(7, "signature")(_flip(4, "hash")(lines))
    (tmp_path / "e.jsonl").write_bytes(b"".join(spoiled))
    found = audited(world, [read_source(tmp_path / "e.jsonl")])
    assert [(f.code, f.entry) for f in found.findings] == [(Code.CHANGED, 4), (Code.BAD_SIGNATURE, 7)]
    assert "not read on" in " ".join(map(str, found.notes))


# --- epsilon


def test_accountants_that_disagree_are_a_finding(world: World, honest: dict[str, Source]) -> None:
    """Catches a fault in either accountant: 0.02 and 1 % are let pass, and 3 % are not."""
    key = world.hospitals["south"][1].public

    def off_by(share: float) -> Audit:
        return audit(
            [honest["south"]],
            Trusted((key,)),
            lambda events, delta: (1 + share) * accounting.epsilon(events, delta),
        )

    assert codes(off_by(0.005)) == set()
    assert codes(off_by(0.03)) == {Code.ACCOUNTANTS_DISAGREE}


# --- files


def test_what_can_not_be_opened_is_no_finding_but_an_error(tmp_path: Path) -> None:
    """Catches a typing slip that is taken for fraud, or for a clean bill; a file that is no book is said to be none."""
    key = str(tmp_path / "k.pub")
    keys.generate(tmp_path / "k")
    (tmp_path / "notes.txt").write_text("hello")
    for book_, with_key in [("none.jsonl", key), (".", key), ("notes.txt", str(tmp_path / "no.pub"))]:
        result = CliRunner().invoke(app, ["verify", str(tmp_path / book_), "--key", with_key])
        assert (result.exit_code, "error:" in result.stderr) == (2, True)
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "notes.txt"), "--key", key])
    assert (result.exit_code, "notes.txt: it is no export" in result.stderr) == (1, True)


def test_a_signature_for_another_purpose_heads_no_export(world: World, honest: dict[str, Source]) -> None:
    """Catches a head that is signed with the ledger's purpose: signatures must not be good for two things."""
    key, source = world.hospitals["south"][1], honest["south"]
    assert source.export is not None
    head = {name: value for name, value in source.export.head.items() if name != "signature"}
    signature = key.sign(canonical.encode(head), Purpose.LEDGER).hex()
    export = replace(source.export, head={**head, "signature": signature})
    assert codes(audited(world, [replace(source, export=export)])) == {Code.HEAD_NOT_SIGNED}
