"""What each way to average low-rank experts loses against the exact mean of the products, without noise and with it.

    python -m bench.low_rank [--json]

Eight hospitals, one layer of 1024 x 1024, rank 8. Each moves A and B from a shared start (B = 0) by a common step and
one of its own, equally long. Noise: Gaussian, on what is trained, ten times as long as a step: on A and B, or on B alone
(FFA-LoRA). Told is the Frobenius error over the norm of the mean of the noiseless products; for FFA-LoRA, of those that
it would have without noise, A being frozen. The last rows are nine hospitals of ranks 4, 8 and 16 in one expert: with A
trained, refactored; and with A frozen, by the campaigns' own mean of each column over those who train it (docs/adr/0033).
That mean is told twice: beside the exact mean of the products that are sent, to which who does not train a column adds
nothing, and beside the one that there would be if everybody trained all columns. Then what a release of the layer weighs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from bench import command
from bench.aggregation_round import header, new_key
from bench.weighting import EXPERT, PLAN, Change
from privacy.payload import pack
from privacy.release import PAYLOAD
from strategies.aggregate import Recipe, aggregate
from strategies.gathered import gather
from strategies.low_rank import (
    Factors,
    exact_mean,
    factor_mean,
    fedex_mean,
    refactored_mean,
    relative_error,
    truncated,
)

HOSPITALS, LAYER, RANK = 8, 1024, 8
NOISE = 10.0
MIXED = (4, 8, 16) * 3
B = "layer.lora_B"


def hospitals(ranks: tuple[int, ...], noise: float, *, frozen: bool) -> list[Factors]:
    """What hospitals of these ranks send; the draws of steps are the same with and without noise, frozen or not."""
    steps, noises = np.random.default_rng(1), np.random.default_rng(2)
    start = steps.normal(size=(max(ranks), LAYER)) / np.sqrt(LAYER)
    common_b, common_a = steps.normal(size=(LAYER, max(ranks))), steps.normal(size=(max(ranks), LAYER))
    found = []
    for rank in ranks:
        own_b, own_a = steps.normal(size=(LAYER, rank)), steps.normal(size=(rank, LAYER))
        b = (common_b[:, :rank] + own_b + noise * noises.normal(size=own_b.shape)) / LAYER
        moved = (common_a[:rank] + own_a + noise * noises.normal(size=own_a.shape)) / LAYER
        found.append(Factors(b, start[:rank] + (0.0 if frozen else 1.0) * moved))
    return found


def table() -> dict[str, dict[str, float]]:
    """Relative errors, by way to average and noise."""
    found: dict[str, dict[str, float]] = {}
    for told, noise in (("without noise", 0.0), ("with noise", NOISE)):
        same = (RANK,) * HOSPITALS
        weights = [1.0] * HOSPITALS
        truth = exact_mean(hospitals(same, 0.0, frozen=False), weights)
        sent = hospitals(same, noise, frozen=False)
        mean, residual = fedex_mean(sent, weights)
        small = truncated(residual, RANK)
        ffa = factor_mean(hospitals(same, noise, frozen=True), weights)
        mixed, mixed_weights = hospitals(MIXED, noise, frozen=False), [1.0] * len(MIXED)
        mixed_truth = exact_mean(hospitals(MIXED, 0.0, frozen=False), mixed_weights)
        all_columns = hospitals((max(MIXED),) * len(MIXED), 0.0, frozen=True)
        by_column = column_mean(first_columns(hospitals((max(MIXED),) * len(MIXED), noise, frozen=True)))
        ways = {
            "factor mean": relative_error(mean, truth),
            "product, refactored to rank 8": relative_error(refactored_mean(sent, weights, RANK), truth),
            "FedEx, whole residual": relative_error(_sum(mean, residual), truth),
            "FedEx, residual of rank 8": relative_error(_sum(mean, small), truth),
            "FFA-LoRA (A frozen), mean of B": relative_error(
                ffa, exact_mean(hospitals(same, 0.0, frozen=True), weights)
            ),
            "ranks 4, 8, 16: refactored to 16": relative_error(
                refactored_mean(mixed, mixed_weights, 16), mixed_truth
            ),
            "A frozen, by column: to what is sent": relative_error(
                by_column, exact_mean(first_columns(all_columns), mixed_weights)
            ),
            "A frozen, by column: to all columns": relative_error(
                by_column, exact_mean(all_columns, mixed_weights)
            ),
        }
        for name, error in ways.items():
            found.setdefault(name, {})[told] = error
    return found


def first_columns(factors: Sequence[Factors]) -> list[Factors]:
    """What hospitals of `MIXED` ranks send of these."""
    return [Factors(one.b[:, :rank], one.a[:rank]) for one, rank in zip(factors, MIXED, strict=True)]


def column_mean(factors: Sequence[Factors]) -> Factors:
    """As a campaign averages them, A being frozen."""
    changes = [
        Change(f"h{number}", {B: one.b.astype(np.float32)}, 0.01) for number, one in enumerate(factors)
    ]
    widest = max(factors, key=lambda one: one.rank)
    start = {B: np.zeros(widest.b.shape, np.float32)}
    state = aggregate(gather(EXPERT, start, changes), Recipe(), PLAN).state
    return Factors(state[B].astype(np.float64), widest.a)


def sizes() -> dict[str, int]:
    """Bytes of a release of the layer, by rank."""
    found = {}
    for rank in sorted(set(MIXED)):
        (one,) = hospitals((rank,), NOISE, frozen=True)
        told = header({B: one.b.shape}, "h0", new_key().public, 0.01)
        payload = pack({B: one.b.astype(np.float32)}, told.to_bytes().decode(), told.nonce)
        found[f"rank {rank}"] = PAYLOAD + len(payload)
    return found


def _sum(one: Factors, other: Factors) -> Factors:
    return Factors(np.concatenate([one.b, other.b], axis=1), np.concatenate([one.a, other.a], axis=0))


def main() -> None:
    """Print the table."""
    asked = command.options(__doc__).parse_args()
    found, weigh = table(), sizes()
    if asked.json:
        print(json.dumps({**found, "bytes of a release": weigh}))
        return
    for name, row in found.items():
        print(f"{name:38}" + "".join(f"{told} {error:9.2e}   " for told, error in row.items()))
    print(f"{'bytes of a release':38}" + "   ".join(f"{rank}: {size:,}" for rank, size in weigh.items()))


if __name__ == "__main__":
    main()
