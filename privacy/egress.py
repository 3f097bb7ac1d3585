"""The egress guard: the last look at a reply before it goes through the agent's socket.

A reply is one of six things, and never a mixture: releases (`release/<expert>`), noised counts (`counts`), one message
of secure aggregation (`privacy.secagg.outgoing`), one refusal (`code`), the hospital's public description
(`description`), or, where the policy declares the data public, `metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping

from privacy import canonical
from privacy.codes import Refusal, SecaggFault
from privacy.egress_record import CODE as CODE
from privacy.egress_record import COUNTS, RELEASE, EgressRecord
from privacy.egress_record import DESCRIPTION as DESCRIPTION
from privacy.egress_record import METRICS as METRICS
from privacy.errors import EgressError, ReleaseRefused, WireError
from privacy.keys import PublicKey
from privacy.policy import Policy
from privacy.release import Expectation, check
from privacy.sealed_counts import CountsExpectation, open_counts
from privacy.secagg.outgoing import PARTS, SumExpectation, check_message

Expected = Expectation | CountsExpectation | SumExpectation


def check_reply(
    reply: Mapping[str, bytes],
    policy: Policy,
    *,
    limit: int,
    epsilon: float,
    destination: PublicKey,
    expected: Expected | None = None,
    description: bytes | None = None,
) -> tuple[EgressRecord, ...]:
    """Return a log record for each part of a reply that may leave; raise `EgressError` for any other reply.

    `limit` bounds the reply's bytes in all; `epsilon` is the ledger's total and `destination` the
    coordinator's key, for the log.  Releases, counts and messages of secure aggregation may leave only where `expected`
    is given: they must pass `privacy.release.check`, `privacy.sealed_counts.open_counts` or
    `privacy.secagg.outgoing.check_message` (signature by this hospital's own key, names, dtypes, shapes, size) for the
    plan, request or step being answered.  A description must equal `description`.
    """
    size = sum(len(value) for value in reply.values())
    if size > limit:
        raise EgressError(f"the reply has {size} bytes, over the limit of {limit}")
    if reply and all(name.startswith(RELEASE) for name in reply):
        for name, value in reply.items():
            _check_release(name, value, expected)
    elif set(reply) == {COUNTS}:
        _check_counts(reply[COUNTS], expected)
    elif len(reply) == 1 and set(reply) <= set(PARTS.values()):
        for name, value in reply.items():
            _check_message(name, value, expected)
    elif set(reply) == {CODE}:
        if reply[CODE] not in {code.value.encode() for code in (*Refusal, *SecaggFault)}:
            raise EgressError("the reply's code is not one of the closed set")
    elif set(reply) == {DESCRIPTION}:
        if description is None or reply[DESCRIPTION] != description:
            raise EgressError("the reply describes the hospital in other words than its policy gives")
    elif set(reply) == {METRICS}:
        _check_metrics(reply[METRICS], policy, limit)
    else:
        raise EgressError(f"a reply may not hold {', '.join(map(repr, sorted(reply))) or 'nothing'}")
    return tuple(
        EgressRecord(name, canonical.digest(value), len(value), epsilon, destination.raw.hex())
        for name, value in sorted(reply.items())
    )


def _check_release(name: str, value: bytes, expected: Expected | None) -> None:
    if not isinstance(expected, Expectation):
        raise EgressError("a release in answer to no plan")
    try:
        release = check(value, expected)
    except ReleaseRefused as error:
        raise EgressError(f"{name!r}: {error}") from error
    if name != RELEASE + release.expert:
        raise EgressError(f"{name!r} holds a release of {release.expert!r}")


def _check_counts(value: bytes, expected: Expected | None) -> None:
    if not isinstance(expected, CountsExpectation):
        raise EgressError("counts in answer to no noised evaluation")
    try:
        open_counts(value, expected)
    except ReleaseRefused as error:
        raise EgressError(f"counts: {error}") from error


def _check_message(name: str, value: bytes, expected: Expected | None) -> None:
    if not isinstance(expected, SumExpectation):
        raise EgressError(f"{name!r} in answer to no step of secure aggregation")
    check_message(name, value, expected)


def _check_metrics(value: bytes, policy: Policy, limit: int) -> None:
    if not policy.public_data:
        raise EgressError("metrics may not leave: the policy does not declare this data public")
    try:
        canonical.decode(value, limit)
    except WireError as error:
        raise EgressError(f"metrics: {error}") from error
