"""How fast a ledger verifies, and how soon it knows what the next round would cost.

    python -m bench.ledger

10,000 entries of 2,500 rounds, each reserved, spent, sent and acknowledged; then 40 mechanisms that all differ, as if
every few rounds of a long campaign had another noise multiplier. CPU seconds of one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import canonical
from privacy.accounting import epsilon
from privacy.audit import chain, hospital
from privacy.audit.sources import Side, Source
from privacy.keys import PrivateKey
from privacy.ledger.budget import Compositions
from privacy.ledger.entries import Entry, Kind, follow
from privacy.ledger.reading import Book
from privacy.mechanism import Event
from privacy.policy import Policy
from privacy.receipt import ACCEPTED, Receipt

ROUNDS = 2_500
DIGEST = canonical.digest(b"any")
START = datetime(2030, 1, 1, tzinfo=UTC)
EVENT = Event(1.0, 0.05, 10)
POLICY = Policy(
    "north", 100.0, 1e-5, 1000, 0.5, 0.1, 10, 4, ("classification", "detection"), ("roi", "wsi"), ("*",)
)


@cache
def spent(rounds: int) -> float:
    """The epsilon of so many rounds."""
    return epsilon([EVENT] * rounds, POLICY.delta)


def life(
    rounds: int, key: PrivateKey, coordinator: PrivateKey, hospital: str = POLICY.hospital
) -> list[Entry]:
    """A policy, then four entries a round."""
    policy = replace(POLICY, hospital=hospital)
    entries = [follow(None, Kind.POLICY, START, {"policy": policy.to_dict()}, key)]

    def write(kind: Kind, body: dict[str, object]) -> Entry:
        at = START + timedelta(minutes=len(entries))
        entries.append(follow(entries[-1], kind, at, body, key))
        return entries[-1]

    for number in range(1, rounds + 1):
        digest = canonical.digest(str(number).encode())
        held = write(
            Kind.RESERVATION,
            {
                "campaign": "spring",
                "round": number,
                "stage": "sft",
                "experts": ["scale/roi", "scale/wsi"],
                "base": DIGEST,
                "plan": DIGEST,
                "policy": policy.hash,
                "code": DIGEST,
                "event": EVENT.to_dict(),
            },
        )
        part = {"sha256": digest, "bytes": 200_000}
        write(Kind.SPEND, {"reservation": held.hash, "releases": {"scale/roi": part, "scale/wsi": part}})
        parts = [{"name": f"release/scale/{scale}", **part} for scale in ("roi", "wsi")]
        write(
            Kind.RELEASE,
            {"destination": coordinator.public.raw.hex(), "epsilon": spent(number), "parts": parts},
        )
        sent = {"scale/roi": digest, "scale/wsi": digest}
        receipt = Receipt(hospital, "spring", number, DIGEST, sent, dict.fromkeys(sent, ACCEPTED), held.hash)
        body = {"receipt": receipt.to_dict(), "signed": receipt.sign(coordinator).hex()}
        write(Kind.RECEIPT, {**body, "coordinator": coordinator.public.raw.hex()})
    return entries


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def main() -> None:
    """Print the figures."""
    key, coordinator = (PrivateKey(Ed25519PrivateKey.generate()) for _ in range(2))
    entries = life(ROUNDS, key, coordinator)
    took = seconds(lambda: Book.of(entries, key.public))
    print(f"verify {len(entries):,} entries (receipts too): {took:.2f} s; goal < 5 s")
    source = Source("bench", Side.HOSPITAL, tuple(entries))
    took = seconds(
        lambda: hospital.read_ledger(source, chain.check(source, [key.public]), {coordinator.public})
    )
    print(f"audit's reading of the same, for findings: {took:.2f} s; goal < 5 s")

    events = [replace(EVENT, noise_multiplier=1.0 + n / 40) for n in range(41)]
    composed = Compositions()
    opening = seconds(lambda: composed.of("in all", events[:40]).epsilon(1e-5))
    following = seconds(lambda: composed.of("in all", events[:40]).plus(events[40]).epsilon(1e-5))
    print(
        f"epsilon of 40 mechanisms: {opening:.2f} s at opening; of one more: {following:.2f} s; goal < 0.5 s"
    )


if __name__ == "__main__":
    main()
