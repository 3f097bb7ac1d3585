"""One hospital's part of a report: who, what left and when, under which rules, and what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from privacy.audit.accounting import Figures
from privacy.audit.hospital import HospitalBook
from privacy.audit.report.chart import chart
from privacy.audit.report.document import Section, Table
from privacy.egress_record import COUNTS, MASKED, METRICS, RELEASE
from privacy.ledger.entries import Entry, Kind, read_time
from privacy.ledger.reading import summarise
from privacy.refusal_words import WORDS

_SHORT = 16  # hex digits that a hash is shown with
_FROM_BELOW = (
    "A self-test also measures epsilon from below: from 240 releases of made-up patients it guesses, as an attacker would, "
    "whether one of them took part. What it measures can only lie above what is claimed there where the code breaks its "
    "promise (and by chance, once in a million); far below, it proves nothing."
)
_LIMITS = (
    ("epsilon_budget", "epsilon in all"),
    ("epsilon_per_campaign", "for a campaign"),
    ("epsilon_per_day", "on a day"),
    ("delta", "delta"),
    ("nominal_patients", "patients, as made public"),
    ("minimum_noise_multiplier", "least noise"),
    ("maximum_sampling_rate", "highest sampling rate"),
    ("maximum_steps", "most steps in a round"),
    ("maximum_samples_per_patient", "most samples of a patient"),
)


def sections(book: HospitalBook, figures: Figures) -> Iterator[Section]:
    """The sections on one hospital; one only, where its ledger could not be read on."""
    yield _who(book)
    if not book.read or not book.entries:
        return
    yield _epsilon(book, figures)
    yield _left(book)
    yield _policies(book)
    yield _code(book)
    yield from _others(book)


def _who(book: HospitalBook) -> Section:
    name = book.hospital or "not named yet"
    keys = ", then ".join(key.fingerprint for key in book.chain.keys) or "none that is known"
    text = [f"{book.source.name}: {len(book.source.entries)} entries. Key that holds it: {keys}."]
    if not book.read:
        text.append("The chain of its entries does not hold, so nothing was read from it. See the findings.")
        return Section(f"Hospital: {name}", tuple(text), listed=True)
    summary = summarise(book.account)
    text.append(
        f"Answered and paid for: {_count(len(book.payments), 'round or evaluation', 'rounds and evaluations')}; "
        f"acknowledged by the coordinator: {_count(summary.receipts, 'round')}. Given up, with nothing sent, and "
        f"charged all the same: {_count(summary.voided, 'reservation')}. Refused: "
        f"{_count(summary.refused, 'request')}. Withdrawn their consent, and left out "
        f"from then on: {_count(summary.withdrawn, 'patient')}. Its key was replaced "
        f"{_count(summary.rotations, 'time')}."
    )
    return Section(f"Hospital: {name}", tuple(text), listed=True)


def _epsilon(book: HospitalBook, figures: Figures) -> Section:
    last = book.entries[-1].at
    totals = tuple(
        (
            total.scope,
            str(total.events),
            f"{total.epsilon:.3f}",
            f"{total.second:.3f}",
            f"{total.delta:g}",
        )
        for total in figures.totals
    )
    text: list[str] = []
    if figures.curve:
        now, budget = figures.curve[-1].epsilon, figures.curve[-1].budget
        text.append(f"{now:.2f} of a budget of {budget:g} is spent or reserved.")
    headings = ("scope", "events", "first accountant", "second accountant", "delta")
    return Section(
        "Epsilon over time",
        tuple(text),
        chart(figures.curve, read_time(last)),
        Table(headings, totals, (32, 12, 20, 20, 16)) if totals else None,
        level=3,
    )


def _left(book: HospitalBook) -> Section:
    """Every reply with its sealed parts; what else was said, counted."""
    paid = {(name, sha): p for p in book.payments for name, sha in p.releases.items()}
    outcomes = {
        (receipt.campaign, receipt.round, name): outcome
        for _, receipt in book.receipts
        for name, outcome in receipt.outcomes.items()
    }
    rows: list[tuple[str, ...]] = []
    others: Counter[str] = Counter()
    metrics = sealed = 0
    for entry in book.entries:
        parts: dict[tuple[str, int], list[_Part]] = {}
        for part in entry.body["parts"] if entry.kind == Kind.RELEASE else ():
            name = part["name"].removeprefix(RELEASE)
            payment = paid.get((name, part["sha256"]))
            if part["name"] == METRICS:
                metrics += 1
            elif payment is None:
                others[part["name"]] += 1
            else:
                known = outcomes.get((payment.campaign, payment.round, name), "not yet")
                said = "not asked for" if name in (COUNTS, MASKED) else known
                of = (payment.campaign, payment.round)
                parts.setdefault(of, []).append(
                    _Part(name, part["bytes"], part["sha256"], payment.code, said)
                )
        for (campaign, number), held in parts.items():
            sealed += len(held)
            rows.append(_departure(entry, campaign, number, held))
    text = [
        f"{_count(sealed, 'sealed part')} left, each paid for before it did, as the hospital's own log says. A journal "
        "or receipt shows a part that arrived and is not in it; nothing shows what went elsewhere."
    ]
    if others:
        told = ", ".join(f"{name} ({count})" for name, count in sorted(others.items()))
        text.append(f"Besides these, parts that by their names hold nothing computed from patients: {told}.")
    if metrics:
        text.append(f"Metrics of data that the policy declares public: {metrics}.")
    headings = ("when (UTC)", "campaign", "round", "what", "bytes", "SHA-256", "code", "acknowledged")
    table = Table(headings, tuple(rows), (15, 11, 6, 20, 9, 19, 9, 11), frozenset({5, 6}), latest=True)
    return Section("What left", tuple(text), table=table if rows else None, level=3)


@dataclass(frozen=True)
class _Part:
    name: str
    bytes: int
    sha256: str
    code: str
    acknowledged: str


def _departure(entry: Entry, campaign: str, number: int, parts: list[_Part]) -> tuple[str, ...]:
    """A row: what the parts have in common is said once."""
    names = ({COUNTS: "noised counts", MASKED: "a masked sum"}.get(part.name, part.name) for part in parts)
    return (
        _time(entry),
        campaign,
        str(number),
        ", ".join(names),
        f"{sum(part.bytes for part in parts):,}",
        " ".join(part.sha256[:_SHORT] for part in parts),
        " ".join(dict.fromkeys(part.code[:8] for part in parts)),
        ", ".join(dict.fromkeys(part.acknowledged for part in parts)),
    )


def _policies(book: HospitalBook) -> Section:
    """Each policy in full, one below the other."""
    adopted = [entry for entry in book.entries if entry.kind == Kind.POLICY]
    rows = tuple(
        (
            _time(entry),
            *(
                "none" if (value := entry.body["policy"].get(key)) is None else str(value)
                for key, _ in _LIMITS
            ),
        )
        for entry in adopted
    )
    headings = ("adopted (UTC)", *(words for _, words in _LIMITS))
    table = Table(headings, rows, (19, *[9] * len(_LIMITS)))
    text = ("The limits that the hospital set for itself, and nobody else can raise.",)
    return Section("Under which policy", text, table=table if adopted else None, level=3)


def _code(book: HospitalBook) -> Section:
    """The code that trained, each time it changed, and what self-tests said of it."""
    reservations = [entry for entry in book.entries if entry.kind == Kind.RESERVATION]
    rows: list[tuple[str, ...]] = []
    for code, run in groupby(reservations, key=lambda entry: entry.body["code"]):
        held = list(run)
        rows.append((_time(held[0]), str(code)[:_SHORT], f"at work: {_count(len(held), 'reservation')}"))
    for entry in book.entries:
        if entry.kind == Kind.SELFTEST:
            found = ", ".join(entry.body["findings"])
            verdict = "self-test passed" if entry.body["passed"] else f"self-test FAILED: {found}"
            if (bound := entry.body.get("bound")) is not None:
                verdict += f"; measured epsilon at least {_figure(bound['lower'])}, claimed {_figure(bound['claimed'])}"
            rows.append((_time(entry), entry.body["code"][:_SHORT], verdict))
    text: tuple[str, ...] = ("Each code by its hash. A change of version is a change of hash.", _FROM_BELOW)
    tested = {
        entry.body["code"] for entry in book.entries if entry.kind == Kind.SELFTEST and entry.body["passed"]
    }
    if untested := {entry.body["code"] for entry in reservations} - tested:
        text += (f"At work without a passed self-test on record: {_count(len(untested), 'version')}.",)
    table = Table(("when (UTC)", "code", "what"), tuple(sorted(rows)), (20, 25, 55), frozenset({1}))
    return Section("Under which code", text, table=table if rows else None, level=3)


def _others(book: HospitalBook) -> Iterator[Section]:
    """Refusals by code, withdrawals and new keys, where there were any."""
    refused = Counter(entry.body["code"] for entry in book.entries if entry.kind == Kind.REFUSAL)
    if refused:
        rows = tuple((code, str(count), WORDS.get(code, "")) for code, count in sorted(refused.items()))
        table = Table(("code", "requests", "what it means"), rows, (24, 12, 64))
        yield Section("Refused", table=table, level=3)
    events = []
    for entry in book.entries:
        if entry.kind == Kind.WITHDRAWAL:
            events.append((_time(entry), f"withdrawn by now: {_count(entry.body['withdrawn'], 'patient')}"))
        elif entry.kind == Kind.ROTATION:
            events.append((_time(entry), "a new key took over, signed by the old one and the new one"))
    if events:
        table = Table(("when (UTC)", "what"), tuple(events), (25, 75))
        yield Section("Withdrawals and keys", table=table, level=3)


def _figure(epsilon: float | None) -> str:
    return "beyond any bound" if epsilon is None else f"{epsilon:.2f}"


def _time(entry: Entry) -> str:
    return entry.at[:16].replace("T", " ")


def _count(number: int, one: str, more: str | None = None) -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
