"""Files that are no books at all: each is named, and the others are audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auditor.cli import app
from privacy import canonical, keys
from privacy.audit import summary
from privacy.audit.findings import Code
from privacy.audit.sources import Source, read_source
from privacy.ledger.entries import FORMAT
from tests.audit_books import SPRING, World, audited, shown
from tests.privacy_cases import CODE


def _headed(**fields: object) -> bytes:
    head = {"at": "", "entries": 1, "format": FORMAT, "head": CODE, "name": "fedpath-ledger", "signature": ""}
    return canonical.encode(head | fields) + b"\n"


NO_BOOKS: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("a word", b"garbage"),
    ("an empty line", b"\n"),
    ("random bytes", bytes(range(255, 0, -1)) * 9),
    ("zeros", bytes(1 << 22)),
    ("a list", b"[1]"),
    ("a table", b"{}\n"),
    ("a policy", b'# north\nhospital = "north"\n'),
    ("a key", b"-----BEGIN PUBLIC KEY-----\n"),
    ("a list without end", b"[" * 100_000),
    ("a name of nobody's", _headed(name="fedpath-diary")),
    ("a name that is a list", _headed(name=["fedpath-ledger"])),
    ("another format", _headed(format=2)),
    ("a format beyond every number", _headed(format=10**4000)),
    ("words that move", b'{"\x1b[2J\xe2\x80\xae":1}\n'),
    ("a line without its head", b'{"at":"2030-01-01T00:00:00.000+00:00","sequence":1}\n'),
    ("a database that is none", b"SQLite format 3\0" + b"x" * 5000),
]


@pytest.mark.parametrize("held", [row[1] for row in NO_BOOKS], ids=[row[0] for row in NO_BOOKS])
def test_a_file_that_is_no_book_is_named_and_the_others_are_audited(
    world: World, honest: dict[str, Source], tmp_path: Path, held: bytes
) -> None:
    """Catches one file whose first bytes end the audit of everyone, and an error that does not say which file it was."""
    (tmp_path / "odd").write_bytes(held)
    found = audited(world, [honest["north"], read_source(tmp_path / "odd"), honest["journal"]])
    assert [(f.code, f.book) for f in found.findings] == [(Code.DAMAGED, str(tmp_path / "odd"))]
    assert [len(figures.totals) for figures in found.figures] == [3]
    assert len(found.journals) == 1
    shown(found)


def test_commands_go_on_past_files_that_are_no_books(tmp_path: Path) -> None:
    """Catches a command that says nothing of the good book, writes no report, or does not name the bad file; and, of one
    that wants a single book, an error that does not name it.
    """
    small = World.create(tmp_path)
    small.round(SPRING, 1)
    small.exports()
    coordinator = str(keys.public_path(small.home.coordinator_key))
    (tmp_path / "g.jsonl").write_bytes(b"garbage")
    (tmp_path / "h.jsonl").write_bytes(b"")
    names = [str(tmp_path / name) for name in ("g.jsonl", "north.jsonl", "h.jsonl")]
    given = [*names, "--coordinator", coordinator, "--key", str(tmp_path / "north.key.pub")]
    done = CliRunner().invoke(app, ["verify", *given, "--json"])
    said = json.loads(done.stdout)
    assert (done.exit_code, [f["book"] for f in said["findings"]]) == (1, [names[0], names[2]])
    assert [(one["book"], one["spent"]) for one in said["hospitals"]] == [(names[1], 1)]
    done = CliRunner().invoke(app, ["report", *given, "--out", str(tmp_path / "r.html")])
    assert (done.exit_code, names[0] in (tmp_path / "r.html").read_text("utf-8")) == (1, True)
    done = CliRunner().invoke(app, ["replay", names[0], str(tmp_path), "--coordinator", coordinator])
    assert (done.exit_code, done.stdout, names[0] in done.stderr) == (2, "", True)
    words = (
        "--sampling-rate",
        "0.1",
        "--steps",
        "1",
        "--noise",
        "1",
        "--key",
        str(tmp_path / "north.key.pub"),
    )
    for odd in (names[0], names[2]):
        done = CliRunner().invoke(app, ["plan", *words, "--ledger", odd])
        assert (done.exit_code, done.stdout, odd in done.stderr) == (2, "", True)


def test_a_consortiums_store_is_no_ledger(world: World, honest: dict[str, Source]) -> None:
    """Catches a store that is called the ledger of no one yet, and advice to open it for writing."""
    store = world.home.folder / "consortium.db"
    found = audited(world, [honest["north"], read_source(store)])
    assert [str(finding) for finding in found.findings] == [
        f"damaged: {store}: it is a consortium's store, and no ledger: take the journal that `fedpath-consortium export` "
        "writes of it"
    ]
    assert "no one yet" not in "".join(summary.lines(found))
