"""Both sides' books of a small consortium, written by the very ledger, store and receipts that campaigns use.

Two hospitals, two campaigns, a voided round, a withdrawal, a self-test, a refusal and, where asked, a rotated key.
And the means to forge: `resigned` rewrites a book as its owner could, with the owner's own key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from privacy import accounting, canonical, keys, tensors
from privacy.audit import summary
from privacy.audit.findings import Code
from privacy.audit.report import html
from privacy.audit.report.pages import pages
from privacy.audit.report.pdf import render
from privacy.audit.sources import Side, Source
from privacy.audit.verify import Audit, Trusted, audit
from privacy.codes import Refusal
from privacy.egress_record import RELEASE, EgressRecord
from privacy.keys import PrivateKey
from privacy.ledger.entries import Entry, follow
from privacy.ledger.export import read_export, write_export
from privacy.ledger.store import Ledger
from privacy.mechanism import Mechanism
from privacy.policy import Policy
from server import journal
from server.campaign import Campaign, Train, plan_for
from server.home import Home
from server.receipts import write_receipts
from server.records import Hospital
from server.store import Store
from strategies.definition import Stage
from strategies.intake import Aggregated, Verdict
from tests.privacy_cases import BASE, CODE, MECHANISM, POLICY

EXPERTS = ("scale/roi", "scale/wsi")
OTHER = Mechanism(clip_norm=1.0, noise_multiplier=1.5, sampling_rate=0.05, steps=4, samples_per_patient=4)
SPRING, AUTUMN = (
    Campaign(name, 7, BASE, 2, 4.0, "experts", 1, 60.0, "never", (Stage("sft", 3, EXPERTS, 0.01, mechanism),))
    for name, mechanism in (("spring", MECHANISM), ("autumn", OTHER))
)
_STATE = {"x.lora_B": np.ones((6, 2), np.float32), "y.lora_B": np.ones((3, 2), np.float32)}

Body = dict[str, Any]


class Clock:
    """A time that goes on by 20 seconds whenever it is read."""

    def __init__(self) -> None:
        self._at = datetime(2030, 1, 1, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._at += timedelta(seconds=20)
        return self._at


@dataclass
class World:
    """A consortium's books, and every key that could forge them."""

    folder: Path
    home: Home
    store: Store
    clock: Clock
    hospitals: dict[str, tuple[Ledger, PrivateKey]] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path) -> World:
        clock = Clock()
        home = Home.create(folder / "home", "consortium", "127.0.0.1", 19093)
        world = cls(folder, home, home.store(clock), clock)
        for name in ("north", "south"):
            key = keys.generate(folder / f"{name}.key")
            world.store.enrol(Hospital(name, key.public, f"node {name}".encode(), evaluator=False))
            world.hospitals[name] = (Ledger(folder / f"{name}.db", key, clock), key)
        for campaign in (SPRING, AUTUMN):
            world.store.begin(campaign, dict.fromkeys(EXPERTS, tensors.encode(_STATE)), "1")
        return world

    def policy(self, hospital: str) -> Policy:
        return Policy.from_dict({**POLICY.to_dict(), "hospital": hospital})

    def round(self, campaign: Campaign, number: int, acknowledge: bool = True) -> None:
        """A round as it goes: opened, paid for, sent, accepted, committed, acknowledged."""
        stage = campaign.stages[0]
        plan = plan_for(campaign, Train(number, number, stage), self.store.states(campaign.name))
        opened = self.store.open_round(plan)
        verdicts = []
        for name, (ledger, _) in self.hospitals.items():
            policy = self.policy(name)
            paid = ledger.reserve(plan, policy, CODE)
            sealed = {expert: f"{name} {plan.hash} {expert}".encode() for expert in plan.experts}
            ledger.spend(paid, sealed)
            self.reply(name, {RELEASE + expert: data for expert, data in sealed.items()})
            verdicts += [
                Verdict(name, expert, None, canonical.digest(data), len(data), 0.1, paid.hash)
                for expert, data in sealed.items()
            ]
        coordinator = self.home.coordinator()
        receipts = write_receipts(plan, verdicts, coordinator)
        new = {expert: Aggregated(tensors.encode(_STATE), None, {}) for expert in plan.experts}
        self.store.commit_round(opened, new, verdicts, receipts, {"wait": 1.0}, keep_releases=False)
        if acknowledge:
            for name, (ledger, _) in self.hospitals.items():
                ledger.receipt(receipts[name], coordinator.public)

    def reply(self, hospital: str, parts: Mapping[str, bytes]) -> None:
        ledger, _ = self.hospitals[hospital]
        epsilon = ledger.epsilon(POLICY.delta)
        destination = self.home.coordinator().public.raw.hex()
        ledger.log_egress(
            [
                EgressRecord(name, canonical.digest(data), len(data), epsilon, destination)
                for name, data in sorted(parts.items())
            ]
        )

    def live(self) -> None:
        """All that a ledger's life may hold."""
        north, _ = self.hospitals["north"]
        north.selftest(True, CODE, [], {"lower": 1.25, "claimed": 4.0})
        self.reply("north", {"description": b"{}"})
        self.round(SPRING, 1)
        north.refuse(Refusal.BUSY, None)
        stage = SPRING.stages[0]
        plan = plan_for(SPRING, Train(2, 2, stage), self.store.states("spring"))
        north.void(north.reserve(plan, self.policy("north"), CODE))
        self.round(SPRING, 2)
        north.withdrawn(2)
        self.round(AUTUMN, 1)
        self.round(SPRING, 3, acknowledge=False)

    def rotate(self, hospital: str) -> None:
        """From now on a new key holds the hospital's ledger."""
        ledger, _ = self.hospitals[hospital]
        new = keys.generate(self.folder / f"{hospital}.new.key")
        ledger.rotate(new)
        self.hospitals[hospital] = (ledger, new)

    def trusted(self) -> Trusted:
        """The keys that an auditor would be given."""
        hospitals = tuple(key.public for _, key in self.hospitals.values())
        return Trusted(hospitals, (self.home.coordinator().public,))

    def exports(self) -> dict[str, Path]:
        """Every book in a file: each hospital's under its name, and "journal"."""
        made = {}
        for name, (ledger, key) in self.hospitals.items():
            made[name] = self.folder / f"{name}.jsonl"
            write_export(made[name], ledger.entries(), key, self.clock().isoformat())
        made["journal"] = self.folder / "journal.jsonl"
        journal.export(made["journal"], self.store.journal(), self.home.coordinator(), self.clock())
        return made


def book(name: str, side: Side, entries: Sequence[Entry], key: PrivateKey, folder: Path) -> Source:
    """Entries as an export that their owner has signed."""
    path = folder / f"{name}.jsonl"
    write_export(
        path, entries, key, "2031-01-01", "fedpath-ledger" if side is Side.HOSPITAL else "fedpath-journal"
    )
    return Source(name, side, tuple(entries), export=read_export(path))


def audited(world: World, sources: Sequence[Source]) -> Audit:
    """The audit under all keys of this world; the first accountant serves as the second, for speed."""
    return audit(sources, world.trusted(), accounting.epsilon)


def codes(found: Audit) -> set[Code]:
    """What was found, by name."""
    return {finding.code for finding in found.findings}


Change = Callable[[Entry, Body], Body | None]


def resigned(entries: Sequence[Entry], key: PrivateKey, change: Change) -> list[Entry]:
    """The book as its owner rewrites it: bodies changed (None: the entry dropped), all references made to fit, the
    chain made anew and signed.  What others have signed stays as they signed it.
    """
    made: list[Entry] = []
    renamed: dict[str, str] = {}
    for entry in entries:
        text = canonical.encode(dict(entry.body)).decode()
        if entry.kind != "receipt":
            for old, new in renamed.items():
                text = text.replace(old, new)
        body = change(entry, json.loads(text))
        if body is not None:
            last = made[-1] if made else None
            made.append(follow(last, entry.kind, datetime.fromisoformat(entry.at), body, key))
            renamed[entry.hash] = made[-1].hash
    return made


def shown(found: Audit) -> None:
    """All that is made of an audit can be made of this one."""
    list(summary.lines(found))
    json.loads(json.dumps(summary.to_json(found)))
    drawn = pages(found, datetime(2031, 1, 1, tzinfo=UTC))
    html.render(drawn)
    assert render(drawn).startswith(b"%PDF-")
