"""The audit of a hospital that was revoked and came back, and of a coordinator whose key was rotated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from privacy import accounting, keys
from privacy.audit.findings import Code
from privacy.audit.sources import Side, read_source
from privacy.audit.verify import Audit, Trusted, audit
from privacy.handover import Handover
from privacy.ledger.entries import Entry
from privacy.ledger.export import write_export
from privacy.ledger.store import Ledger
from server.provision.rotate import rotate
from server.records import Hospital
from tests.audit_books import SPRING, Body, World, audited, book, codes, resigned


def returned(folder: Path, *, same_ledger: bool) -> World:
    """A round, then north is revoked and enrolled again, and a round more; north's ledger goes on or is a new one."""
    world = World.create(folder)
    world.round(SPRING, 1)
    ledger, key = world.hospitals["north"]
    write_export(folder / "before.jsonl", ledger.entries(), key, world.clock().isoformat())
    world.store.revoke("north", "its key was stolen")
    if same_ledger:
        world.rotate("north")
    else:
        new = keys.generate(folder / "north.again.key")
        world.hospitals["north"] = (Ledger(folder / "north.again.db", new, world.clock), new)
    new = world.hospitals["north"][1]
    world.store.enrol(Hospital("north", new.public, b"node north again", evaluator=False))
    world.round(SPRING, 2)
    return world


def _audited(world: World, *more: Path, without: str = "") -> Audit:
    paths = [path for name, path in world.exports().items() if name != without]
    return audited(world, [read_source(path) for path in (*paths, *more)])


def test_a_hospital_that_goes_on_with_its_ledger_is_audited_as_one(tmp_path: Path) -> None:
    """Catches an audit that accuses a hospital of coming back, or the coordinator of letting it."""
    found = _audited(returned(tmp_path, same_ledger=True))
    assert found.findings == ()
    assert found.notes == ()


def test_a_new_ledger_is_not_accused_of_what_the_old_one_paid(tmp_path: Path) -> None:
    """Catches a hospital that lost its home and is accused for it; and an old ledger that nobody misses."""
    world = returned(tmp_path, same_ledger=False)
    found = _audited(world)
    assert found.findings == ()
    assert [note.text for note in found.notes] == [
        "of north no ledger was given under the keys from before it was revoked"
    ]


def test_a_cheat_does_not_get_a_clean_ledger_by_a_replaced_key(tmp_path: Path) -> None:
    """Catches a hospital that was never revoked and starts a new ledger under its replaced key, to hide what it spent."""
    world = World.create(tmp_path)
    world.round(SPRING, 1)
    old = world.hospitals["north"][1]
    world.rotate("north")
    new = world.hospitals["north"][1]
    world.store.replace_key("north", [Handover.make("north", old, new.public)])
    (tmp_path / "clean").mkdir()
    clean = Ledger(tmp_path / "clean" / "ledger.db", new, world.clock)
    clean.withdrawn(1)
    write_export(path := tmp_path / "clean" / "north.jsonl", clean.entries(), new, "2031-01-01")
    assert Code.NOT_PAID in codes(_audited(world, path, without="north"))


def _without(kind: str, last: bool = False) -> Callable[[Entry, Body], Body | None]:
    """A coordinator that leaves the (last) entry of this kind about north out."""

    def change(entry: Entry, body: Body) -> Body | None:
        gone = entry.kind == kind and body.get("hospital") == "north" and (not last or entry.sequence > 5)
        return None if gone else body

    return change


def _of_another_key(entry: Entry, body: Body) -> Body:
    return body | {"release_key": "ab" * 32} if entry.kind == "revocation" else body


def _malformed(entry: Entry, body: Body) -> Body:
    return body | {"hospital": 5} if entry.kind == "revocation" else body


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_without("enrolment", last=True), Code.NOT_ENROLLED),
        (_without("revocation"), Code.ILLEGAL_ENTRY),
        (_of_another_key, Code.ILLEGAL_ENTRY),
        (_malformed, Code.ILLEGAL_ENTRY),
    ],
    ids=["never back", "back without having been out", "another's key", "malformed"],
)
def test_a_coordinator_that_takes_a_revoked_hospitals_releases_is_found(
    tmp_path: Path, change: Callable[[Entry, Body], Body | None], code: Code
) -> None:
    """Catches a revocation that is for show: releases count after it, or the journal never says how it ended."""
    world = returned(tmp_path, same_ledger=True)
    key = world.home.coordinator()
    entries = read_source(world.exports()["journal"]).entries
    (tmp_path / "bad").mkdir()
    rewritten = book("journal", Side.COORDINATOR, resigned(entries, key, change), key, tmp_path / "bad")
    assert code in codes(audited(world, [rewritten]))


def succeeded(folder: Path) -> World:
    """A round, a rotation of the coordinator's key that both hospitals follow, and a round more."""
    world = World.create(folder)
    world.round(SPRING, 1)
    old = world.home.coordinator()
    rotate(world.home, world.clock())
    world.store = world.home.store(world.clock)
    for ledger, _ in world.hospitals.values():
        ledger.succeeded(world.store.successions())
    world.round(SPRING, 2)
    assert world.home.coordinator().public != old.public
    return world


def test_replies_and_receipts_are_followed_through_a_rotation(tmp_path: Path) -> None:
    """Catches replies to the coordinator's new key that pass for replies to somebody else, or the other way round."""
    world = succeeded(tmp_path)
    old, read = world.store.successions()[0].old, world.exports().items()
    assert audited(world, [read_source(path) for _, path in read]).findings == ()
    hospitals = tuple(key.public for _, key in world.hospitals.values())
    sources = [read_source(path) for name, path in read if name != "journal"]
    assert audit(sources, Trusted(hospitals, (old,)), accounting.epsilon).findings == ()
    new = world.home.coordinator().public
    assert codes(audit(sources, Trusted(hospitals, (new,)), accounting.epsilon)) == {
        Code.FORGED_RECEIPT,
        Code.SENT_ELSEWHERE,
    }


def test_a_successor_that_nobody_named_is_an_illegal_entry(tmp_path: Path) -> None:
    """Catches a hospital that makes a friend of its the coordinator's successor, to have receipts from."""
    world = succeeded(tmp_path)
    north = world.hospitals["north"][1]
    friend = keys.generate(tmp_path / "friend.key").public.raw.hex()

    def change(entry: Entry, body: Body) -> Body:
        return body | {"new": friend} if entry.kind == "succession" else body

    entries = read_source(world.exports()["north"]).entries
    (tmp_path / "bad").mkdir()
    rewritten = book("north", Side.HOSPITAL, resigned(entries, north, change), north, tmp_path / "bad")
    assert Code.ILLEGAL_ENTRY in codes(audited(world, [rewritten]))
