"""Was every reservation one that the hospital's own policy in force allowed?  Its budgets are `accounting`'s part."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from privacy.audit.findings import Code, Finding
from privacy.errors import PolicyError
from privacy.evaluation import EVALUATION
from privacy.ledger.entries import Entry, Kind, read_time
from privacy.mechanism import SHARED, Event
from privacy.policy import Policy


def adopted(entry: Entry) -> Policy | PolicyError:
    """The policy that an entry adopts, or why no agent would go by it."""
    try:
        return Policy.from_dict(entry.body["policy"])
    except PolicyError as error:
        return error


def judge(book: str, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Go through a ledger's legal `entries`: policies, and what was reserved under them and under which code."""
    policy: Policy | None = None
    failed: dict[str, int] = {}  # code whose last self-test failed, by its entry
    approved: set[str] = set()
    installed: str | None = None  # None: an older ledger, in which no entry brings code in
    for entry in entries:
        if entry.kind == Kind.POLICY:
            found = adopted(entry)
            if isinstance(found, Policy):
                policy = found
            else:
                text = f"entry {entry.sequence} adopts a policy that no agent takes: {found}"
                yield Finding(Code.ILLEGAL_ENTRY, book, entry.sequence, text)
        elif entry.kind == Kind.SELFTEST:
            failed.pop(entry.body["code"], None)
            if not entry.body["passed"]:
                failed[entry.body["code"]] = entry.sequence
        elif entry.kind == Kind.APPROVAL:
            (approved.add if entry.body["approved"] else approved.discard)(entry.body["campaign"])
        elif entry.kind == Kind.UPGRADE:
            installed = entry.body["after"]["code"]
        elif entry.kind == Kind.RESERVATION:
            broken = [] if policy is None else list(_breaches(policy, entry, approved))
            if installed not in (None, entry.body["code"]):
                broken.append("it is made under code that no entry brought in")
            if (test := failed.get(entry.body["code"])) is not None:
                broken.append(f"it is made under code that failed its self-test in entry {test}")
            if broken:
                what = f"round {entry.body['round']} of {entry.body['campaign']}"
                text = f"entry {entry.sequence} reserves {what}, which was not allowed: {'; '.join(broken)}"
                yield Finding(Code.AGAINST_POLICY, book, entry.sequence, text)


def _breaches(policy: Policy, entry: Entry, approved: Collection[str]) -> Iterator[str]:
    body, event = entry.body, Event.from_dict(entry.body["event"])
    if policy.public_data:
        yield "the policy declares its data public, and such data is not charged for"
    if "*" not in policy.campaigns and body["campaign"] not in policy.campaigns:
        yield f"the policy allows no campaign {body['campaign']!r}"
    if policy.approval == "manual" and body["campaign"] not in approved:
        yield f"the policy has campaigns approved by hand, and {body['campaign']!r} was not"
    if policy.opening is not None and not policy.opening.are_open(read_time(entry.at)):
        yield f"it was reserved at {entry.at}, outside of the policy's hours"
    if body["stage"] == EVALUATION:
        yield from _evaluation(policy, event)
        return
    if event.mechanism == SHARED and not policy.distributed_trust:
        yield "the policy offers no distributed trust"
    least = policy.minimum_noise_multiplier
    if event.noise_multiplier < least:
        yield f"the noise multiplier is {event.noise_multiplier:g}, where the policy asks for {least:g}"
    if event.sampling_rate > policy.maximum_sampling_rate:
        yield f"the sampling rate is {event.sampling_rate:g}, where the policy allows {policy.maximum_sampling_rate:g}"
    if event.steps > policy.maximum_steps:
        yield f"there are {event.steps} steps, where the policy allows {policy.maximum_steps}"
    others = sorted(set(body["experts"]) - set(policy.experts))
    if others or not body["experts"]:
        yield f"the policy does not allow its experts ({', '.join(others) or 'none'})"


def _evaluation(policy: Policy, event: Event) -> Iterator[str]:
    least = policy.minimum_evaluation_noise
    if least is None:
        yield "the policy offers no noised evaluation"
    elif event.noise_multiplier < least:
        yield f"the noise multiplier is {event.noise_multiplier:g}, where the policy asks for {least:g}"
    if (event.sampling_rate, event.steps) != (1.0, 1):
        yield "an evaluation is one step over all patients"
