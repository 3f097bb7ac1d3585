"""The books: epsilon of forty different rounds, at once and round by round, and a ledger's verification.

dp-accounting's own `PLDAccountant`, which starts anew whenever it is asked, is the peer of the first; the floor of
the second is as many bare Ed25519 verifications by `cryptography` as the ledger holds signatures.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dp_accounting import dp_event
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

from bench.ledger import life, seconds
from bench.privacy_timing import Figures, figures, medians
from privacy.accounting import NOTHING, Composition
from privacy.keys import PrivateKey
from privacy.ledger.reading import Book
from privacy.mechanism import Event

T = TypeVar("T")
G = TypeVar("G")
DELTA = 1e-5
INTERVAL = 1e-3  # of the loss distributions, on both sides
SAME = 1e-2
ENTRY_BYTES = 500
VERIFY_GOAL_S = 5.0
NEXT_ROUND_GOAL_S = 0.5


def accounting(rounds: int, repeats: int) -> Figures:
    """CPU seconds for the epsilon of all rounds, and of one more."""
    took: dict[str, list[float]] = defaultdict(list)
    for repeat in range(repeats):
        events = _mixed(rounds, 2 * repeat)
        at_once, spent_on_it = _timed(lambda given: Composition.of(given).epsilon(DELTA), events)
        took["at_once"].append(spent_on_it)
        theirs, spent_on_it = _timed(_anew, events)
        took["dp_accounting_anew"].append(spent_on_it)
        composed, each = NOTHING, []
        *others, more = _mixed(rounds + 1, 2 * repeat + 1)
        for event in others:
            (composed, incremental), spent_on_it = _timed(_next, (composed, event))
            each.append(spent_on_it)
        took["round_by_round"].append(sum(each))
        took["next_round"].append(_timed(_next, (composed, more))[1])
        apart = max(at_once, theirs, incremental) - min(at_once, theirs, incremental)
        if apart > SAME:
            raise RuntimeError(f"the ways to compose differ: {at_once}, {theirs} and {incremental}")
    return {
        "rounds": rounds,
        **figures({name: median(each) for name, each in took.items()}, "dp_accounting_anew"),
        "goal_next_round_s": NEXT_ROUND_GOAL_S,
        "epsilon": round(at_once, 4),
        "epsilons_differ_by": round(apart, 6),
    }


def ledger(rounds: int, repeats: int) -> Figures:
    """CPU seconds to verify a ledger of four entries a round, receipts too, and the rate."""
    key, coordinator = (PrivateKey(Ed25519PrivateKey.generate()) for _ in range(2))
    entries = life(rounds, key, coordinator)
    signatures = len(entries) + rounds
    took = medians(
        {
            "verify": lambda: seconds(lambda: Book.of(entries, key.public)),
            "signatures_alone": lambda: seconds(lambda: _bare(signatures)),
        },
        repeats,
    )
    return {
        "entries": len(entries),
        **figures(took, "signatures_alone"),
        "entries_a_second": round(len(entries) / took["verify"]),
        "goal_verify_10000_s": VERIFY_GOAL_S,
    }


def _timed(work: Callable[[G], T], given: G) -> tuple[T, float]:
    before = time.process_time()
    result = work(given)
    return result, time.process_time() - before


def _next(so_far: tuple[Composition, Event]) -> tuple[Composition, float]:
    composed = so_far[0].plus(so_far[1])
    return composed, composed.epsilon(DELTA)


def _mixed(rounds: int, series: int) -> list[Event]:
    """Rounds that all differ; a hair from those of other series, so that no cache knows them."""
    return [Event(1.0 + n / 40 + series * 1e-7, (0.05, 0.1)[n % 2], 10) for n in range(rounds)]


def _anew(events: Sequence[Event]) -> float:
    accountant = PLDAccountant(value_discretization_interval=INTERVAL)
    for event in events:
        one = dp_event.PoissonSampledDpEvent(
            event.sampling_rate, dp_event.GaussianDpEvent(event.noise_multiplier)
        )
        accountant.compose(one, event.steps)
    return float(accountant.get_epsilon(DELTA))


def _bare(count: int) -> None:
    private = Ed25519PrivateKey.generate()
    public, message = private.public_key(), bytes(ENTRY_BYTES)
    signature = private.sign(message)
    for _ in range(count):
        public.verify(signature, message)
