"""What each way to average low-rank experts loses against the exact mean of the products, without noise and with it.

    python -m bench.low_rank [--json]

Eight hospitals, one layer of 1024 x 1024, rank 8. Each moves A and B from a shared start (B = 0) by a common step and
one of its own, equally long. Noise: Gaussian, on what is trained, ten times as long as a step: on A and B, or on B alone
(FFA-LoRA). Told is the Frobenius error over the norm of the mean of the noiseless products; for FFA-LoRA, of those that
it would have without noise, A being frozen. The last row is hospitals of ranks 4, 8 and 16 in one expert.
"""

from __future__ import annotations

import json

import numpy as np

from bench import command
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
        }
        for name, error in ways.items():
            found.setdefault(name, {})[told] = error
    return found


def _sum(one: Factors, other: Factors) -> Factors:
    return Factors(np.concatenate([one.b, other.b], axis=1), np.concatenate([one.a, other.a], axis=0))


def main() -> None:
    """Print the table."""
    asked = command.options(__doc__).parse_args()
    found = table()
    if asked.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(f"{name:36}" + "".join(f"{told} {error:9.2e}   " for told, error in row.items()))


if __name__ == "__main__":
    main()
