"""One round over a Flower grid: gather, ask, check answers as they come, aggregate, commit.

A hospital that is missing, slow, crashed or hostile costs its own contribution only. A round commits when
`quorum` hospitals contributed; else it is tried again, with the same plan, bytes for bytes, so that a
hospital that has answered before answers with the same releases and pays nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from privacy.codes import Refusal, ReleaseFault
from privacy.experts import EXPERTS
from privacy.keys import PrivateKey
from server.campaign import Campaign, Train, plan_for
from server.clock import Clock
from server.errors import HospitalRevoked, RoundFailed
from server.events import NO_ANSWER
from server.exchange import exchange, is_busy, word
from server.receipts import note_delivery, write_receipts
from server.records import REVOKED, OpenRound, Owed
from server.roll import Roll
from server.store import Store
from strategies.flower import FedPathStrategy, Outcome, RoundTask, read_reply
from strategies.intake import Verdict

_T = TypeVar("_T")

ATTEMPTS = 3
PAUSE_S = 5.0
_MOST_VERDICTS = 2 * len(EXPERTS)  # of one hospital in one round: more is noise
PASSING = (Refusal.BUSY, Refusal.UNREACHABLE, Refusal.INTERNAL)
# What the same plan would meet again, whoever asks and however often.
_FINAL = frozenset({*Refusal, *ReleaseFault}) - frozenset(PASSING)


@dataclass(frozen=True)
class Federation:
    """What a campaign runs with."""

    grid: Grid
    store: Store
    key: PrivateKey
    clock: Clock
    roll: Roll


@dataclass
class Seconds:
    """Where a round's time went."""

    gather: float = 0.0
    wait: float = 0.0
    aggregate: float = 0.0


def run_round(house: Federation, campaign: Campaign, action: Train) -> None:
    """Do the round and commit it. Raises `RoundFailed`, naming who answered what, where no quorum can be
    had."""
    plan = plan_for(campaign, action, house.store.states(campaign.name))
    outcome = Outcome([], {})
    revoked: set[str] = set()  # who answered, and was revoked before that counted
    for _ in range(ATTEMPTS):
        seconds = Seconds()
        nodes = gather(house, campaign, seconds)
        opened = house.store.open_round(plan)
        outcome = _attempt(house, campaign, opened, nodes, seconds)
        if len(outcome.contributors) >= campaign.quorum:
            verdicts = outcome.verdicts + [Verdict(name, None, REVOKED, "", 0) for name in sorted(revoked)]
            receipts = write_receipts(plan, verdicts, house.key)
            try:
                house.store.commit_round(
                    opened,
                    outcome.experts,
                    verdicts,
                    receipts,
                    vars(seconds),
                    keep_releases=campaign.keep_releases,
                )
            except HospitalRevoked as error:
                revoked |= error.names
                continue
            return
        if _hopeless(house, campaign, outcome):
            break
        house.clock.sleep(PAUSE_S)
    answers = ", ".join(f"{v.hospital}: {v.fault or 'accepted'}" for v in outcome.verdicts)
    raise RoundFailed(
        f"round {plan.round} of {campaign.name}: {len(outcome.contributors)} of at least {campaign.quorum} "
        f"hospitals contributed ({answers}). Nothing was committed; mend the cause and run the campaign again"
    )


def gather(house: Federation, campaign: Campaign, seconds: Seconds) -> dict[int, str]:
    """The campaign's hospitals that are here, by node, once its quorum is or time is up."""
    return timed(
        house.clock,
        seconds,
        "gather",
        lambda: house.roll.gather(
            evaluators=False,
            least=campaign.quorum,
            seconds=campaign.round_deadline_s,
            trusted=campaign.code_hashes,
            members=campaign.members,
        ),
    )


def _attempt(
    house: Federation, campaign: Campaign, opened: OpenRound, nodes: dict[int, str], seconds: Seconds
) -> Outcome:
    """Ask the plan of all that are here and gather what comes within the deadline."""
    owed, keys = house.store.owed(), house.store.release_keys(opened.opened_at)
    nodes = {
        node: name for node, name in nodes.items() if name in keys
    }  # who was revoked just now is not asked
    states = house.store.states(campaign.name)
    task = RoundTask(
        plan=opened.plan,
        signature=opened.signature,
        states={name: house.store.state(states[name]) for name in opened.plan.experts_hash},
        nodes=nodes,
        keys=keys,
        receipts={name: owed[name].data for name in nodes.values() if name in owed},
        code_hashes=campaign.code_hashes,
        patients=campaign.patients,
    )
    strategy = FedPathStrategy(
        task,
        {name: campaign.recipe(name) for name in opened.plan.experts},
        lambda data: house.store.put_aside(campaign.name, data),
        house.store.memories(campaign.name),
    )
    messages = strategy.configure_train(opened.plan.round, ArrayRecord(), ConfigRecord(), house.grid)
    house.store.asked(opened, nodes.values())
    replies = exchange(house.grid, messages, campaign.round_deadline_s, house.clock, again=is_busy)
    begun = house.clock.monotonic()
    strategy.aggregate_train(opened.plan.round, _listening(house, opened, nodes, owed, replies, seconds))
    seconds.aggregate = house.clock.monotonic() - begun - seconds.wait
    return _judged(strategy.outcome, nodes)


def _listening(
    house: Federation,
    opened: OpenRound,
    nodes: Mapping[int, str],
    owed: Mapping[str, Owed],
    replies: Iterator[Message],
    seconds: Seconds,
) -> Iterator[Message]:
    """Pass the replies on, noting for eyes and clocks who answered what and when."""
    while True:
        reply = timed(house.clock, seconds, "wait", lambda: next(replies, None))
        if reply is None:
            return
        name = nodes.get(reply.metadata.src_node_id)
        if name is not None:
            parts = read_reply(reply, "train")
            answer = (
                "releases"
                if any(part.startswith("release/") for part in parts)
                else word(parts.get("code", b""))
            )
            house.store.answered(opened, name, answer, sum(map(len, parts.values())))
            note_delivery(house.store, reply, owed.get(name))
        yield reply


def _judged(outcome: Outcome, nodes: dict[int, str]) -> Outcome:
    """The outcome with a verdict on the silent, and without what only fills a record."""
    kept: list[Verdict] = []
    count: Counter[str] = Counter()
    for verdict in outcome.verdicts:
        known = verdict.expert is None or verdict.expert in EXPERTS
        if known and count[verdict.hospital] < _MOST_VERDICTS:
            kept.append(verdict)
            count[verdict.hospital] += 1
    silent = set(nodes.values()) - {verdict.hospital for verdict in outcome.verdicts}
    kept += [Verdict(name, None, NO_ANSWER, "", 0) for name in sorted(silent)]
    return Outcome(kept, outcome.experts)


def _hopeless(house: Federation, campaign: Campaign, outcome: Outcome) -> bool:
    """Whether so many refused for good that no further attempt can reach the quorum."""
    refused = {v.hospital for v in outcome.verdicts if v.fault in _FINAL} - outcome.contributors
    enrolled = {name for name, hospital in house.store.hospitals().items() if not hospital.evaluator}
    enrolled &= campaign.members or enrolled
    return len(enrolled - refused) < campaign.quorum


def timed(clock: Clock, seconds: Seconds, phase: str, do: Callable[[], _T]) -> _T:
    """Do it, and add the time that it took to the phase's."""
    begun = clock.monotonic()
    try:
        return do()
    finally:
        setattr(seconds, phase, getattr(seconds, phase) + clock.monotonic() - begun)
