"""A line of the egress log.  Apart from the guard, which knows releases, because the ledger keeps these lines."""

from __future__ import annotations

from dataclasses import dataclass

RELEASE = "release/"  # begins the name of a reply's part that is a release
COUNTS = "counts"  # the name of a reply's part that is a noised evaluation's answer
MASKED = "masked"  # that of a hospital's masked sum, under distributed trust
FREE_OF_DATA = (
    "advert",
    "deal",
    "survivors",
    "opening",
)  # the other messages of secure aggregation: keys, shares, names
CODE = "code"  # that of a refusal
DESCRIPTION = "description"
METRICS = "metrics"  # of data that the policy declares public


def is_sealed(name: str) -> bool:
    """Whether a part of this name must have been paid for."""
    return name.startswith(RELEASE) or name in (COUNTS, MASKED)


@dataclass(frozen=True)
class EgressRecord:
    """What left: a part of a reply, the hospital's total epsilon when it did, and whose key it went to.

    `destination` is the coordinator's public key in hex: the courier hands replies to nobody else.
    """

    name: str
    sha256: str
    bytes: int
    epsilon: float
    destination: str
