"""What a hospital can do to its own ledger, with its own key: whatever it rewrites is found, and named by its code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from privacy import accounting, canonical, keys
from privacy.audit.findings import Code
from privacy.audit.report.pages import pages
from privacy.audit.sources import Side, Source, read_source
from privacy.audit.verify import Trusted, audit
from privacy.codes import UNSIGNED, ReleaseFault
from privacy.egress_record import METRICS, EgressRecord
from privacy.keys import PrivateKey
from privacy.ledger.entries import Entry, Kind, follow
from privacy.ledger.export import write_export
from privacy.receipt import Receipt
from tests.audit_books import SPRING, Body, Change, World, audited, book, codes, resigned
from tests.privacy_cases import CODE


def _of_round(entry: Entry, body: Body, number: int = 2) -> bool:
    return entry.kind == Kind.RESERVATION and (body["campaign"], body["round"]) == ("spring", number)


class Without:
    """Drop a round's reservation, spend and reply (and receipt), as if it had never been."""

    def __init__(self, number: int, *, receipt: bool) -> None:
        self._number, self._receipt = number, receipt
        self._dropping = False

    def __call__(self, entry: Entry, body: Body) -> Body | None:
        if _of_round(entry, body, self._number):
            self._dropping = True
        elif entry.kind == Kind.RESERVATION:
            self._dropping = False
        mine = entry.kind in (Kind.RESERVATION, Kind.SPEND, Kind.RELEASE)
        mine = mine or (entry.kind == Kind.RECEIPT and self._receipt)
        return None if self._dropping and mine else body


def _cheaper(entry: Entry, body: Body) -> Body:
    return body | {"event": body["event"] | {"steps": 1}} if _of_round(entry, body) else body


def _no_receipts(change: Change) -> Change:
    return lambda entry, body: None if entry.kind == Kind.RECEIPT else change(entry, body)


def _another_plan(entry: Entry, body: Body) -> Body:
    return body | {"plan": canonical.digest(b"another")} if _of_round(entry, body) else body


def _understated(entry: Entry, body: Body) -> Body:
    told = entry.kind == Kind.RELEASE and body["parts"][0]["name"] != "description"
    return body | {"epsilon": body["epsilon"] * 0.8} if told else body


def _overstated(entry: Entry, body: Body) -> Body:
    return body | {"epsilon": None} if entry.kind == Kind.RELEASE else body


def _last_reply(change: Callable[[Body], Body | None]) -> Change:
    """Change the log of what left in round 3 of spring."""
    last: list[str] = []

    def apply(entry: Entry, body: Body) -> Body | None:
        if _of_round(entry, body, 3):
            last.append(entry.hash)
        return change(body) if last and entry.kind == Kind.RELEASE else body

    return apply


def _with_part(name: str) -> Callable[[Body], Body]:
    part = {"name": name, "sha256": canonical.digest(b"a slide"), "bytes": 10**9}
    return lambda body: body | {"parts": [*body["parts"], part]}


def _of_another_size(body: Body) -> Body:
    return body | {"parts": [part | {"bytes": 7} for part in body["parts"]]}


def _under(**fields: object) -> Change:
    """All of it under another policy, whose hash each reservation then names."""
    hashes: dict[str, str] = {}

    def change(entry: Entry, body: Body) -> Body:
        if entry.kind == Kind.POLICY:
            before = canonical.digest(canonical.encode(body["policy"]))
            body["policy"] |= fields
            hashes[before] = canonical.digest(canonical.encode(body["policy"]))
        return body | {"policy": hashes[body["policy"]]} if entry.kind == Kind.RESERVATION else body

    return change


def _descriptions_alone(entry: Entry, body: Body) -> Body | None:
    """A ledger without a policy, and so without the hospital's name."""
    part = {"name": "description", "sha256": canonical.digest(b"{}"), "bytes": 2}
    return body | {"parts": [part]} if entry.kind == Kind.RELEASE else None


def _other_bytes(entry: Entry, body: Body) -> Body:
    if entry.kind == Kind.SPEND:
        part = {"sha256": canonical.digest(b"harmless"), "bytes": 8}
        return body | {"releases": dict.fromkeys(body["releases"], part)}
    if entry.kind == Kind.RELEASE:
        return body | {"parts": []}
    return body


def _same(entry: Entry, body: Body) -> Body:
    return body


def _own_receipts(key: PrivateKey) -> Change:
    def change(entry: Entry, body: Body) -> Body:
        if entry.kind != Kind.RECEIPT:
            return body
        signed = Receipt.from_dict(body["receipt"]).sign(key).hex()
        return body | {"signed": signed, "coordinator": key.public.raw.hex()}

    return change


def _spoiled_receipts(entry: Entry, body: Body) -> Body:
    return body | {"signed": "00" * 64 + body["signed"][128:]} if entry.kind == Kind.RECEIPT else body


REWRITTEN: list[tuple[str, Code, Change]] = [
    ("an event made cheaper", Code.EVENT_MISMATCH, _no_receipts(_cheaper)),
    ("an event made cheaper, found by the receipt", Code.RECEIPT_CONTRADICTS, _cheaper),
    ("another reservation", Code.RESERVATION_MISMATCH, _no_receipts(_cheaper)),
    ("a round left out", Code.NOT_PAID, Without(2, receipt=True)),
    ("a round left out, found by its receipt", Code.RECEIPT_CONTRADICTS, Without(2, receipt=False)),
    ("other bytes paid for", Code.NOT_PAID, _no_receipts(_other_bytes)),
    ("the last round left out", Code.CUT_SHORT, Without(3, receipt=True)),
    ("another plan", Code.PLAN_MISMATCH, _no_receipts(_another_plan)),
    ("epsilon understated", Code.EPSILON_UNDERSTATED, _understated),
    ("epsilon overstated", Code.EPSILON_OVERSTATED, _overstated),
    ("receipts with a false signature", Code.FORGED_RECEIPT, _spoiled_receipts),
    ("a reply taken from the log", Code.NOT_LOGGED, _last_reply(lambda body: None)),
    (
        "every reply taken from the log",
        Code.NOT_LOGGED,
        lambda entry, body: None if entry.kind == Kind.RELEASE else body,
    ),
    (
        "a reply to a stranger",
        Code.SENT_ELSEWHERE,
        _last_reply(lambda body: body | {"destination": "ab" * 32}),
    ),
    ("a reply of another size", Code.ILLEGAL_ENTRY, _last_reply(_of_another_size)),
    ("metrics of private data", Code.ILLEGAL_ENTRY, _last_reply(_with_part("metrics"))),
    ("a slide in a reply", Code.ILLEGAL_ENTRY, _last_reply(_with_part("slide-17.svs"))),
    ("no policy and no round", Code.CUT_SHORT, _descriptions_alone),
    ("under too little noise", Code.AGAINST_POLICY, _under(minimum_noise_multiplier=5.0)),
    ("at too high a rate", Code.AGAINST_POLICY, _under(maximum_sampling_rate=0.001)),
    ("with too many steps", Code.AGAINST_POLICY, _under(maximum_steps=1)),
    ("in a campaign not allowed", Code.AGAINST_POLICY, _under(campaigns=["winter"])),
    ("of an expert not allowed", Code.AGAINST_POLICY, _under(scales=["wsi"])),
    ("on public data", Code.AGAINST_POLICY, _under(public_data=True)),
    ("a delta of nearly 1", Code.ILLEGAL_ENTRY, _under(delta=0.999)),
    ("a budget without end", Code.ILLEGAL_ENTRY, _under(epsilon_budget="inf")),
    ("a budget that is no number", Code.ILLEGAL_ENTRY, _under(epsilon_budget="nan")),
    ("a delta too small to compute", Code.ILLEGAL_ENTRY, _under(delta=1e-13)),
]


@pytest.mark.parametrize(
    ("code", "change"), [row[1:] for row in REWRITTEN], ids=[row[0].replace(" ", "-") for row in REWRITTEN]
)
def test_a_ledger_that_its_own_hospital_rewrote_is_found(
    world: World, honest: dict[str, Source], tmp_path: Path, code: Code, change: Change
) -> None:
    """Catches the hospital that cheats: its chain and signatures are right, and only the other side tells."""
    key = world.hospitals["south"][1]
    rewritten = book("south", Side.HOSPITAL, resigned(honest["south"].entries, key, change), key, tmp_path)
    found = audited(world, [rewritten, honest["north"], honest["journal"]])
    assert code in codes(found)
    assert {finding.book for finding in found.findings} <= {"south"}


def test_rewriting_nothing_changes_nothing(world: World, honest: dict[str, Source], tmp_path: Path) -> None:
    """Catches a test above that is found by a slip of the forger, and not by what was forged."""
    key = world.hospitals["south"][1]
    entries = resigned(honest["south"].entries, key, _same)
    assert entries == list(honest["south"].entries)
    same = book("south", Side.HOSPITAL, entries, key, tmp_path)
    assert not audited(world, [same, honest["north"], honest["journal"]]).findings


@pytest.mark.parametrize("with_journal", [True, False])
def test_receipts_that_the_hospital_signed_itself_are_forged(
    world: World, honest: dict[str, Source], tmp_path: Path, with_journal: bool
) -> None:
    """Catches a hospital that acknowledges itself with a key that the auditor was told to trust: its own."""
    key = world.hospitals["south"][1]
    entries = resigned(honest["south"].entries, key, _own_receipts(key))
    forged = book("south", Side.HOSPITAL, entries, key, tmp_path)
    assert Code.FORGED_RECEIPT in codes(audited(world, [forged, *([honest["journal"]] * with_journal)]))


def test_an_entry_back_dated_and_signed_is_named(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches a hospital that moves a round to another day with its own key, against a daily budget."""
    key, entries = world.hospitals["south"][1], list(honest["south"].entries)
    last = entries[-1]
    earlier = replace(last, at="2020-01-01T00:00:00.000+00:00")
    body = {"code": "busy", "plan": None}
    entries.append(follow(earlier, Kind.REFUSAL, datetime(2020, 1, 2, tzinfo=UTC), body, key))
    found = audited(world, [book("south", Side.HOSPITAL, entries, key, tmp_path)])
    assert [(finding.code, finding.entry) for finding in found.findings] == [
        (Code.BACK_DATED, last.sequence + 1)
    ]


def test_two_copies_of_one_ledger_that_differ_are_a_fork(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches a ledger rewritten since an earlier export, with no journal at hand; and an older copy that is honest."""
    key = world.hospitals["south"][1]
    rewritten = resigned(honest["south"].entries, key, Without(2, receipt=True))
    found = audited(world, [honest["south"], book("now", Side.HOSPITAL, rewritten, key, tmp_path)])
    assert Code.FORKED in codes(found)
    older = book("older", Side.HOSPITAL, honest["south"].entries[:-2], key, tmp_path)
    assert not audited(world, [honest["south"], older]).findings


def test_more_spent_than_the_policy_allows_is_found(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches an agent that was changed so that it reserves beyond its own policy."""
    key = world.hospitals["south"][1]
    poor = _under(epsilon_budget=1.0, epsilon_per_day=0.5)
    entries = resigned(honest["south"].entries, key, poor)
    found = audited(world, [book("south", Side.HOSPITAL, entries, key, tmp_path)])
    over = [finding for finding in found.findings if finding.code is Code.OVER_BUDGET]
    assert any("allows 1" in finding.text for finding in over)
    assert any("on 2030-01-01, where the policy allows 0.5" in finding.text for finding in over)


# --- the wrong book, or the wrong key


def test_another_hospitals_book_is_not_taken_for_this_ones(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches an export that was exchanged: signed by someone, but not by whom the auditor trusts or enrolled."""
    north = world.hospitals["north"][1]
    found = audit([honest["south"]], Trusted((north.public,)), accounting.epsilon)
    assert codes(found) == {Code.UNKNOWN_KEY}

    stranger = keys.generate(tmp_path / "stranger")
    entries = resigned(honest["south"].entries, stranger, _no_receipts(_same))
    foreign = book("foreign", Side.HOSPITAL, entries, stranger, tmp_path)
    trusted = Trusted((stranger.public,), (world.home.coordinator().public,))
    found = audit([foreign, honest["journal"]], trusted, accounting.epsilon)
    assert Code.NOT_ENROLLED in codes(found)


def test_a_journal_that_a_hospital_wrote_is_refused(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches a hospital that answers for the coordinator as well, as its key is among those given."""
    key = world.hospitals["south"][1]
    entries = resigned(honest["journal"].entries, key, _same)
    found = audited(world, [honest["south"], book("journal", Side.COORDINATOR, entries, key, tmp_path)])
    assert ("journal", Code.UNKNOWN_KEY) in {(finding.book, finding.code) for finding in found.findings}


# --- what was refused at the coordinator's, and had left all the same


FAULTS = [(fault, fault not in UNSIGNED) for fault in ReleaseFault]


@pytest.mark.parametrize(("fault", "signed"), FAULTS)
def test_a_signed_release_that_was_refused_was_paid_for(
    world: World, honest: dict[str, Source], tmp_path: Path, fault: ReleaseFault, signed: bool
) -> None:
    """Catches a release that left for nothing, because the coordinator refused it; and a hospital that is accused of
    bytes which anyone may have sent in its name.
    """
    coordinator, south = world.home.coordinator(), world.hospitals["south"][1]

    def refused(entry: Entry, body: Body) -> Body:
        if entry.kind == "round" and (body["campaign"], body["number"]) == ("spring", 3):
            for verdict in body["verdicts"]:
                if verdict["hospital"] == "south":
                    verdict |= {"fault": str(fault), "reservation": None}
        return body

    entries = resigned(honest["journal"].entries, coordinator, refused)
    journal = book("journal", Side.COORDINATOR, entries, coordinator, tmp_path)
    paid = audited(world, [honest["north"], honest["south"], journal])
    assert paid.findings == ()
    rewritten = resigned(honest["south"].entries, south, Without(3, receipt=True))
    found = audited(
        world, [honest["north"], book("south", Side.HOSPITAL, rewritten, south, tmp_path), journal]
    )
    assert codes(found) == ({Code.CUT_SHORT} if signed else set())


# --- the policy in force


def test_code_that_failed_its_self_test_reserves_nothing(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches an agent that was changed so that it works on under code which failed, until it passes again."""
    key, entries = world.hospitals["south"][1], list(honest["south"].entries)
    for passed, expected in ((False, {Code.AGAINST_POLICY}), (True, set())):
        tests: list[Entry] = []
        for verdict in (False, passed):
            body = {"passed": verdict, "code": CODE, "findings": [] if verdict else ["noise"]}
            before = tests[-1] if tests else None
            tests.append(follow(before, Kind.SELFTEST, datetime(2030, 1, 1, tzinfo=UTC), body, key))
        (folder := tmp_path / str(passed)).mkdir()
        joined = resigned([*tests, *entries], key, _no_receipts(_same))
        found = audited(world, [book("south", Side.HOSPITAL, joined, key, folder)])
        assert codes(found) == expected


def test_totals_are_told_at_the_smallest_delta_that_ever_was(
    world: World, honest: dict[str, Source], tmp_path: Path
) -> None:
    """Catches a last policy that makes all that was spent before look small."""
    key, entries = world.hospitals["south"][1], list(honest["south"].entries)
    later = {**world.policy("south").to_dict(), "delta": 0.09, "nominal_patients": 10}
    entries.append(follow(entries[-1], Kind.POLICY, datetime(2031, 1, 1, tzinfo=UTC), {"policy": later}, key))
    found = audited(world, [book("south", Side.HOSPITAL, entries, key, tmp_path)])
    assert found.findings == ()
    assert [total.delta for total in found.figures[0].totals] == [1e-5] * 3


def test_another_delta_from_now_on_accuses_no_one(tmp_path: Path) -> None:
    """Catches a hospital that is accused because its IT changed delta, and an old round was asked for again."""
    world = World.create(tmp_path)
    world.round(SPRING, 1)
    ledger, _ = world.hospitals["south"]
    last = [entry for entry in ledger.entries() if entry.kind == Kind.RELEASE][-1].body
    ledger.adopt(replace(world.policy("south"), delta=1e-7))  # as the agent does when it starts
    epsilon = ledger.epsilon(1e-7)
    ledger.log_egress(
        [
            EgressRecord(p["name"], p["sha256"], p["bytes"], epsilon, last["destination"])
            for p in last["parts"]
        ]
    )
    found = audited(world, [read_source(path) for path in world.exports().values()])
    assert found.findings == ()


def test_an_evaluators_metrics_may_leave(tmp_path: Path) -> None:
    """Catches an audit that accuses the consortium's evaluator, whose data are public, of what it is there for."""
    world = World.create(tmp_path)
    ledger, _ = world.hospitals["south"]
    ledger.adopt(replace(world.policy("south"), public_data=True))
    world.reply("south", {METRICS: b"[]"})
    exported = tmp_path / "south.jsonl"
    write_export(exported, ledger.entries(), world.hospitals["south"][1], "2031-01-01")
    found = audited(world, [read_source(exported)])
    assert found.findings == ()
    assert "Metrics of data that the policy declares public: 1." in str(
        pages(found, datetime(2031, 1, 1, tzinfo=UTC))
    )
