"""One round under distributed trust over a Flower grid: five exchanges, one sum, one step an expert.

    gather -> roll and session -> advertise -> deal -> mask -> agree -> reveal -> sum -> step -> commit

A hospital that is missing, slow or refused at any step costs its own part only, down to the session's threshold. Before
hospitals were asked to mask, a failed attempt costs nobody anything, and another is made in a session of its own. From
then on hospitals may have paid: a round that fails is over, is recorded as such, and the next one is drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sql
from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from privacy import canonical
from privacy.codes import Refusal, SecaggFault
from privacy.egress_record import MASKED
from privacy.errors import SecaggRefused
from privacy.plan import Plan
from privacy.secagg import server
from privacy.secagg.grid import word_bits
from privacy.secagg.outgoing import PARTS, STEPS, sender
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import SharedNoise
from privacy.secagg.terms import Distributed
from server import tables
from server.campaign import Campaign, Train, plan_for
from server.errors import HospitalRevoked, RoundFailed
from server.events import NO_ANSWER
from server.exchange import exchange, is_busy, word
from server.receipts import enclosed, note_delivery, write_receipts
from server.records import REVOKED, OpenRound, Owed
from server.rounds import ATTEMPTS, PASSING, PAUSE_S, Federation, Seconds, gather, timed
from server.store import Store
from strategies.flower import read_reply
from strategies.intake import Verdict
from strategies.summed import check_memories, divisor, layout_of, stepped

METHOD = "sum"
MASK = "mask"
_ASKED_TO_MASK = "asked-to-mask"
_MAY_PASS = frozenset({*PASSING, NO_ANSWER})  # who answered so is asked again in the next attempt
_CODES = frozenset({*Refusal, *SecaggFault})
_MAY_HAVE_PAID = (_ASKED_TO_MASK, MASKED, "survivors", "opening")

Stage = server.Adverts | server.Deals | server.Inputs | server.Statements | server.Openings | server.Total


@dataclass
class Attempt:
    """One attempt: its terms, who is asked, and what came of it. `messages` holds each message's hash, by step and name."""

    opened: OpenRound
    session: Session
    signature: bytes
    nodes: Mapping[int, str]
    asked_to_mask: bool = False
    faults: dict[str, str] = field(default_factory=dict)
    messages: dict[str, dict[str, str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    failure: str = ""


def run_sum_round(house: Federation, campaign: Campaign, action: Train) -> None:
    """Do the round and commit it. Raises `RoundFailed`, naming who answered what; where hospitals may have paid, the round
    is committed then, with no expert changed.
    """
    plan = plan_for(campaign, action, house.store.states(campaign.name))
    terms = plan.distributed
    if terms is None:
        raise ValueError(f"round {plan.round} of {plan.campaign} asks for releases")
    seconds = Seconds()
    if _may_have_been_paid(house.store, plan):
        _give_up(house, plan, seconds, None, "the coordinator was stopped after hospitals were asked to mask")
    states = {name: house.store.state(digest) for name, digest in plan.experts_hash.items()}
    check_memories(plan, states, house.store.memories(campaign.name))
    noise = terms.noise(plan.mechanism, layout_of(plan, states).size)
    refused = _proved_false(house.store, plan.campaign)
    for _ in range(ATTEMPTS):
        attempt = _attempt_of(house, campaign, plan, terms, noise, refused, seconds)
        total = _total(house, campaign, attempt, states, seconds)
        if total is not None:
            try:
                _commit(house, campaign, attempt, total, states, noise, seconds)
            except HospitalRevoked as error:  # its part can't be taken out of the sum
                attempt.faults |= dict.fromkeys(error.names, REVOKED)
                _give_up(house, plan, seconds, attempt, str(error))
            return
        if attempt.asked_to_mask:
            _give_up(house, plan, seconds, attempt, attempt.failure)
        refused |= {name for name, fault in attempt.faults.items() if fault not in _MAY_PASS}
        house.clock.sleep(PAUSE_S)
    raise RoundFailed(
        f"round {plan.round} of {campaign.name}: {attempt.failure} ({_told(attempt.faults)}). Nobody was asked to pay; "
        "mend the cause and run the campaign again"
    )


def _attempt_of(
    house: Federation,
    campaign: Campaign,
    plan: Plan,
    terms: Distributed,
    noise: SharedNoise,
    refused: frozenset[str],
    seconds: Seconds,
) -> Attempt:
    """Who is here and did not refuse, and the terms for them. Raises `RoundFailed` where they are too few."""
    present, hospitals = gather(house, campaign, seconds), house.store.hospitals()
    nodes = {node: name for node, name in present.items() if name in hospitals and name not in refused}
    threshold = terms.threshold(len(nodes))
    if threshold is None or len(nodes) < campaign.quorum:
        raise RoundFailed(
            f"round {plan.round} of {campaign.name}: {len(nodes)} hospitals are too few for {terms.honest} honest ones "
            f"beside {terms.colluding} colluding (docs/secagg.md); refused: {', '.join(sorted(refused)) or 'nobody'}"
        )
    opened = house.store.open_round(plan)
    session = Session(
        plan.campaign,
        plan.round,
        plan.hash,
        {name: hospitals[name].release_key for name in nodes.values()},
        max(threshold, campaign.quorum),
        terms.colluding,
        noise.grid.size,
        word_bits(noise.grid, len(nodes), noise.sigma),
        opened.attempt,
    )
    house.store.asked(opened, nodes.values())
    return Attempt(opened, session, session.sign(house.key), nodes)


def _total(
    house: Federation, campaign: Campaign, attempt: Attempt, states: Mapping[str, bytes], seconds: Seconds
) -> server.Total | None:
    """The five steps; None, and why in `attempt.failure`, where too few are left or a secret can't be opened."""
    stage: Stage = server.Adverts(attempt.session)
    shown: Mapping[str, bytes] = {}
    among = frozenset(attempt.nodes.values())
    try:
        for step in STEPS:
            if step == MASK:
                attempt.asked_to_mask = True
                for name in sorted(among):  # whoever is started again must not ask for a second input
                    house.store.answered(attempt.opened, name, _ASKED_TO_MASK, 0, lasting=True)
            request = _request(attempt, step, shown, states)
            owed = house.store.owed() if step == STEPS[0] else {}
            stage, shown = timed(
                house.clock,
                seconds,
                "wait",
                lambda: _step(house, campaign, attempt, step, stage, among, request, owed),  # noqa: B023 - called at once
            )
            among = frozenset(shown)
            stage = timed(house.clock, seconds, "aggregate", stage.close)  # type: ignore[union-attr]
    except SecaggRefused as error:
        attempt.failure = str(error)
        if error.hospital is not None:
            attempt.faults[error.hospital] = error.code
        return None
    assert isinstance(stage, server.Total)
    return stage


def _request(
    attempt: Attempt, step: str, shown: Mapping[str, bytes], states: Mapping[str, bytes]
) -> ConfigRecord:
    """What every hospital of this step is sent."""
    record = ConfigRecord(
        {
            "plan": attempt.opened.plan.to_bytes(),
            "signature": attempt.opened.signature,
            "session": attempt.session.to_bytes(),
            "session_signature": attempt.signature,
            "step": step.encode(),
        }
    )
    if step == MASK:
        for expert, state in states.items():
            record[f"expert/{expert}"] = state
    if step == "agree":
        record["survivors"] = canonical.encode(sorted(shown))
    else:
        for name, message in shown.items():
            record[f"shown/{name}"] = message
    return record


def _step(
    house: Federation,
    campaign: Campaign,
    attempt: Attempt,
    step: str,
    stage: Stage,
    among: frozenset[str],
    request: ConfigRecord,
    owed: Mapping[str, Owed],
) -> tuple[Stage, dict[str, bytes]]:
    """Ask and take each answer as it comes; the stage after them, and the answers by name. Masked inputs are not held:
    of them only the names are given.
    """
    nodes = {node: name for node, name in attempt.nodes.items() if name in among}
    messages = [
        Message(RecordDict({METHOD: request, **enclosed(owed.get(name))}), node, MessageType.TRAIN)
        for node, name in nodes.items()
    ]
    answers: dict[str, bytes] = {}
    part, hashes = PARTS[step], attempt.messages.setdefault(PARTS[step], {})
    again = _again(attempt, among)
    replies = exchange(house.grid, messages, campaign.round_deadline_s, house.clock, again)
    for reply in replies:
        name = nodes.get(reply.metadata.src_node_id)
        if name is None or name in answers:
            continue
        note_delivery(house.store, reply, owed.get(name))
        parts = read_reply(reply, METHOD)
        data = parts.get(part)
        if data is None:
            attempt.faults[name] = _fault(parts.get("code", b""))
            house.store.answered(attempt.opened, name, attempt.faults[name], 0)
            continue
        try:
            if sender(part, data, attempt.session) != name:
                raise SecaggRefused(SecaggFault.UNKNOWN_HOSPITAL, f"{name} sends another's message")
            stage = stage.add(data)  # type: ignore[union-attr]
        except SecaggRefused as error:
            attempt.faults[name] = error.code
            house.store.answered(attempt.opened, name, error.code, len(data))
            continue
        hashes[name] = canonical.digest(data)
        if campaign.keep_releases:
            house.store.put_aside(campaign.name, data)
        attempt.faults.pop(name, None)
        attempt.sizes[name] = len(data) if part == MASKED else attempt.sizes.get(name, 0)
        answers[name] = b"" if part == MASKED else data
        house.store.answered(attempt.opened, name, part, len(data))
    for name in sorted(among - answers.keys() - attempt.faults.keys()):
        attempt.faults[name] = NO_ANSWER
    return stage, answers


def _again(attempt: Attempt, among: frozenset[str]) -> Callable[[Message], bool]:
    """Whether a reply is worth asking for again: of an agent at work; and, once hospitals may have paid, of one that is
    down, while the round can't do without it. It goes on where it stood; a round that fails was paid for in vain.
    """

    def again(reply: Message) -> bool:
        if is_busy(reply) or not attempt.asked_to_mask:
            return is_busy(reply)
        down = read_reply(reply, METHOD).get("code") == Refusal.UNREACHABLE.encode()
        return down and len(among - attempt.faults.keys()) <= attempt.session.threshold

    return again


def _fault(code: bytes) -> str:
    """A hospital's code, or Flower's; any other word might pass for one of those that are noted here."""
    said = word(code)
    return said if said in _CODES or said.startswith("flower-") else "bad-reply"


def _commit(
    house: Federation,
    campaign: Campaign,
    attempt: Attempt,
    total: server.Total,
    states: Mapping[str, bytes],
    noise: SharedNoise,
    seconds: Seconds,
) -> None:
    plan = attempt.opened.plan
    memories = house.store.memories(campaign.name)
    experts = timed(
        house.clock,
        seconds,
        "aggregate",
        lambda: stepped(plan, states, memories, total.words, noise, total.hospitals, campaign.patients),
    )
    std = noise.std(len(total.hospitals)) / divisor(plan, campaign.patients, total.hospitals)
    verdicts = _verdicts(attempt, total.hospitals, std)
    house.store.commit_round(
        attempt.opened,
        experts,
        verdicts,
        write_receipts(plan, verdicts, house.key),
        vars(seconds),
        keep_releases=campaign.keep_releases,
        summed=_summed(attempt, total.hospitals),
    )


def _give_up(house: Federation, plan: Plan, seconds: Seconds, attempt: Attempt | None, why: str) -> None:
    """Record a round that is over without a sum; hospitals may have paid for it. Raises `RoundFailed`."""
    opened = house.store.open_round(plan) if attempt is None else attempt.opened
    verdicts = [] if attempt is None else _verdicts(attempt, (), None)
    summed = {"failure": why} if attempt is None else {**_summed(attempt, ()), "failure": why}
    house.store.commit_round(opened, {}, verdicts, {}, vars(seconds), keep_releases=False, summed=summed)
    told = "" if attempt is None else f" ({_told(attempt.faults)})"
    raise RoundFailed(
        f"round {plan.round} of {plan.campaign} is over without a sum: {why}{told}. Hospitals may have paid for it, so it "
        "is not asked again; mend the cause and run the campaign again: it goes on with the next round"
    )


def _verdicts(attempt: Attempt, hospitals: tuple[str, ...], std: float | None) -> list[Verdict]:
    """Accepted: whose masked inputs are in the sum. Of the others, what became of them."""
    inputs = attempt.messages.get(MASKED, {})
    taken = [
        Verdict(name, MASKED, None, inputs[name], attempt.sizes[name], std) for name in sorted(hospitals)
    ]
    faults = {name: fault for name, fault in attempt.faults.items() if name not in hospitals}
    return taken + [Verdict(name, None, fault, "", 0) for name, fault in sorted(faults.items())]


def _summed(attempt: Attempt, hospitals: tuple[str, ...]) -> dict[str, object]:
    """What the journal says of the attempt: its session, who is in the sum, and the hash of every message."""
    return {
        "session": attempt.session.to_bytes().decode(),
        "hospitals": list(hospitals),
        "messages": {part: dict(found) for part, found in attempt.messages.items()},
    }


def _proved_false(store: Store, campaign: str) -> frozenset[str]:
    """The hospitals whose own signed deal proved false: each ended a round that all others had paid for, and ends no other."""
    verdicts = tables.verdicts.c
    query = sql.select(verdicts.hospital).where(
        (verdicts.campaign == campaign) & (verdicts.fault == SecaggFault.BAD_DEAL.value)
    )
    return frozenset(row["hospital"] for row in store.read(query))


def _may_have_been_paid(store: Store, plan: Plan) -> bool:
    """Whether an attempt that was cut short had got to where hospitals pay."""
    asks = tables.asks.c
    query = sql.select(asks.answer).where(
        (asks.campaign == plan.campaign) & (asks.number == plan.round) & asks.answer.in_(_MAY_HAVE_PAID)
    )
    return bool(store.read(query))


def _told(faults: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {fault}" for name, fault in sorted(faults.items())) or "all answered"
