"""What an audit says of hours, approvals and code: reservations that an agent would not have made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from privacy import accounting, keys
from privacy.audit.findings import Code
from privacy.audit.rules import judge
from privacy.audit.sources import read_source
from privacy.audit.summary import lines, to_json
from privacy.audit.verify import Trusted, audit
from privacy.errors import LedgerError
from privacy.ledger.account import Account, Installed
from privacy.ledger.entries import Entry, Kind, follow
from privacy.ledger.export import write_export
from privacy.policy import Policy
from tests.privacy_cases import CODE, PLAN, POLICY, Hospital, round_of

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday
NIGHTS = replace(POLICY, hours=("mon-fri 19:00-07:00",), time_zone="UTC")
MANUAL = replace(POLICY, approval="manual")
OTHER = "f" * 64


@dataclass
class Writer:
    """Writes entries that follow each other, whatever they say."""

    key: keys.PrivateKey
    entries: list[Entry]
    at: datetime = NOON

    def write(self, kind: Kind, body: dict[str, object]) -> None:
        self.entries.append(follow(self.entries[-1] if self.entries else None, kind, self.at, body, self.key))

    def policy(self, policy: Policy) -> None:
        self.write(Kind.POLICY, {"policy": policy.to_dict()})

    def approve(self, approved: bool) -> None:
        self.write(Kind.APPROVAL, {"campaign": "spring", "approved": approved})

    def upgrade(self, before: str | None, after: str) -> None:
        old = None if before is None else {"code": before, "version": "0.1.0"}
        self.write(Kind.UPGRADE, {"before": old, "after": {"code": after, "version": "0.2.0"}})

    def reserve(self, policy: Policy, code: str = CODE) -> None:
        plan = PLAN
        body = {"campaign": plan.campaign, "round": len(self.entries), "stage": plan.stage}
        hashes = {"base": plan.base_hash, "plan": plan.hash, "policy": policy.hash, "code": code}
        event = plan.event().to_dict()
        self.write(Kind.RESERVATION, {**body, "experts": list(plan.experts), **hashes, "event": event})


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(keys.generate(tmp_path / "release.key"), [])


def findings(writer: Writer) -> list[str]:
    account = Account()
    for entry in writer.entries:
        account = account.after(entry)  # all of it is legal: it is the policy that forbids
    found = list(judge("north", writer.entries))
    assert {finding.code for finding in found} <= {Code.AGAINST_POLICY}
    return [finding.text for finding in found]


def _outside(writer: Writer) -> None:
    writer.policy(NIGHTS)
    writer.reserve(NIGHTS)


def _inside(writer: Writer) -> None:
    writer.policy(NIGHTS)
    writer.at = NOON + timedelta(hours=7)
    writer.reserve(NIGHTS)


def _not_approved(writer: Writer) -> None:
    writer.policy(MANUAL)
    writer.reserve(MANUAL)


def _approved(writer: Writer) -> None:
    writer.policy(MANUAL)
    writer.approve(True)
    writer.reserve(MANUAL)


def _withdrawn(writer: Writer) -> None:
    _approved(writer)
    writer.approve(False)
    writer.reserve(MANUAL)


def _smuggled(writer: Writer) -> None:
    writer.policy(POLICY)
    writer.upgrade(None, CODE)
    writer.reserve(POLICY)
    writer.reserve(POLICY, OTHER)


def _brought_in(writer: Writer) -> None:
    writer.policy(POLICY)
    writer.upgrade(None, CODE)
    writer.reserve(POLICY)
    writer.upgrade(CODE, OTHER)
    writer.reserve(POLICY, OTHER)


def _older(writer: Writer) -> None:
    """From before upgrades were recorded."""
    writer.policy(POLICY)
    writer.reserve(POLICY)
    writer.reserve(POLICY, OTHER)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_outside, ["outside of the policy's hours"]),
        (_inside, []),
        (_not_approved, ["'spring' was not"]),
        (_approved, []),
        (_withdrawn, ["'spring' was not"]),
        (_smuggled, ["no entry brought in"]),
        (_brought_in, []),
        (_older, []),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_audit_finds_what_the_gates_would_have_stopped(
    writer: Writer, write: Callable[[Writer], None], words: list[str]
) -> None:
    """Catches an agent without gates that passes its audit, and an honest one that does not."""
    write(writer)
    found = findings(writer)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_an_upgrade_starts_from_the_code_that_was_at_work(writer: Writer) -> None:
    """Catches an entry that hides which code the rounds before it were made under."""
    writer.policy(POLICY)
    writer.reserve(POLICY)
    writer.upgrade(OTHER, "e" * 64)
    with pytest.raises(LedgerError, match="upgrades code that was not at work"):
        findings(writer)


def test_the_summary_names_the_code_of_every_answer_and_the_entry_that_brought_it_in(tmp_path: Path) -> None:
    """Catches an auditor who is not told under which code releases were made, or that none of it was recorded."""
    north = Hospital(tmp_path, keys.generate(tmp_path / "release.key"))
    ledger = north.ledger()
    ledger.spend(ledger.reserve(PLAN, POLICY, CODE), {"scale/roi": b"one"})
    ledger.install(Installed(OTHER, "0.2.0"))
    ledger.spend(ledger.reserve(round_of(2), POLICY, OTHER), {"scale/roi": b"two"})
    write_export(tmp_path / "export.jsonl", ledger.entries(), north.key, "2026-01-05T12:00:00+00:00")
    trusted = Trusted((north.key.public,), ())
    read = audit([read_source(tmp_path / "export.jsonl")], trusted, accounting.epsilon)
    told = to_json(read)["hospitals"][0]["codes"]
    assert told == [
        {"code": CODE, "version": None, "entry": None, "answers": 1},
        {"code": OTHER, "version": "0.2.0", "entry": 4, "answers": 1},
    ]
    assert any("brought in by entry 4 (version 0.2.0)" in line for line in lines(read))
