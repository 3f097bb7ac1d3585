"""What left and what it cost, and what was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from privacy import accounting
from privacy.egress_record import RELEASE, is_sealed
from privacy.ledger.account import Account, Reservation
from privacy.ledger.entries import Entry, Kind
from privacy.ledger.reading import departures
from privacy.mechanism import Event
from privacy.refusal_words import WORDS


@dataclass(frozen=True)
class Departure:
    """A part of a reply. Of what was sealed, `campaign`, `round` and `costs`: the epsilon of its round alone, shared by all
    parts of that round; of a code or the description they are None. `epsilon` is that of the whole ledger then.
    """

    at: str
    name: str
    bytes: int
    sha256: str
    epsilon: float
    destination: str
    campaign: str | None = None
    round: int | None = None
    costs: float | None = None


@dataclass(frozen=True)
class Total:
    """What left for one campaign, or for none."""

    campaign: str | None
    parts: int
    bytes: int
    rounds: int


@dataclass(frozen=True)
class Refused:
    """A request that was answered by a code, and what the code means."""

    at: str
    code: str
    meaning: str


@dataclass(frozen=True)
class RefusedTotal:
    """How often a code was given, and when last."""

    code: str
    meaning: str
    count: int
    last: str


def departed(account: Account, entries: Sequence[Entry], delta: float) -> list[Departure]:
    """Everything that ever left, the newest first."""
    paid: dict[tuple[str, str], Reservation] = {
        (expert, sha256): spend.reservation
        for spend in account.spent.values()
        for expert, sha256 in spend.releases.items()
    }
    costs: dict[Event, float] = {}
    found = []
    for at, record in reversed(departures(entries)):
        sealed = (record.name.removeprefix(RELEASE), record.sha256)
        charge = paid.get(sealed) if is_sealed(record.name) else None
        part = Departure(at, record.name, record.bytes, record.sha256, record.epsilon, record.destination)
        if charge is not None:
            if charge.event not in costs:
                costs[charge.event] = accounting.epsilon([charge.event], delta)
            part = replace(part, campaign=charge.campaign, round=charge.round, costs=costs[charge.event])
        found.append(part)
    return found


def totals(found: Sequence[Departure]) -> list[Total]:
    """By campaign, in order of their names; what belongs to none at the end."""
    names = sorted({one.campaign for one in found}, key=lambda name: (name is None, name or ""))
    return [
        Total(
            name,
            len(of := [one for one in found if one.campaign == name]),
            sum(one.bytes for one in of),
            len({one.round for one in of} - {None}),
        )
        for name in names
    ]


def refusals(entries: Sequence[Entry]) -> list[Refused]:
    """Every request that was refused, the newest first."""
    codes = [(entry.at, str(entry.body.get("code", ""))) for entry in entries if entry.kind == Kind.REFUSAL]
    return [Refused(at, code, WORDS.get(code, "")) for at, code in reversed(codes)]


def refused_totals(found: Sequence[Refused]) -> list[RefusedTotal]:
    """By code, the most frequent first; `found` has the newest first."""
    counts, last = Counter(one.code for one in found), {one.code: one.at for one in reversed(found)}
    return [RefusedTotal(code, WORDS.get(code, ""), n, last[code]) for code, n in counts.most_common()]
