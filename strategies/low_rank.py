"""Averaging products: hospitals train A too, or experts of different ranks. No plan asks for either today.

An expert adds `B A x` to a layer, B [out, r] and A [r, in]; what should be averaged is the product BA. Plans freeze A at a
shared public start (FFA-LoRA: Sun et al., arXiv 2403.12313), so the mean of the B's is exact, and half as many values are
noised; campaigns aggregate by `strategies.aggregate`. What A and B trained together would need stands here, for
`bench.low_rank` and the tests, which show what each way loses. It can't be reached from a campaign: docs/adr/0023 says why.

No function forms a dense [out, in] matrix: sums of products stay stacked factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.errors import AggregationError

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """A product `b @ a`: b [out, r], a [r, in]. Raises `AggregationError` where they don't fit together."""

    b: Matrix
    a: Matrix

    def __post_init__(self) -> None:
        if self.b.ndim != 2 or self.a.ndim != 2 or self.b.shape[1] != self.a.shape[0]:
            raise AggregationError(f"factors of {self.b.shape} and {self.a.shape} have no product")

    @property
    def rank(self) -> int:
        """Columns of b, rows of a."""
        return len(self.a)


def exact_mean(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """The weighted mean of the products, exactly: factors of all hospitals side by side, of rank sum of ranks."""
    shares = _shares(factors, weights)
    scaled = [share * one.b for share, one in zip(shares, factors, strict=True)]
    return Factors(np.concatenate(scaled, axis=1), np.concatenate([one.a for one in factors], axis=0))


def factor_mean(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """The mean of the b's times the mean of the a's: not the mean of the products. Ranks must be equal."""
    shares = _shares(factors, weights)
    if len({one.rank for one in factors}) != 1:
        raise AggregationError("factors of different ranks have no mean: use refactored_mean")
    pairs = list(zip(shares, factors, strict=True))
    return Factors(
        np.sum([share * one.b for share, one in pairs], axis=0),
        np.sum([share * one.a for share, one in pairs], axis=0),
    )


def refactored_mean(factors: Sequence[Factors], weights: Sequence[float], rank: int) -> Factors:
    """The product of this rank nearest to the mean of the products (Eckart and Young), whatever ranks hospitals have.

    Its singular values are shared evenly between b and a; each singular vector pair has its sign fixed, so that equal
    products give equal factors.
    """
    return truncated(exact_mean(factors, weights), rank)


def fedex_mean(factors: Sequence[Factors], weights: Sequence[float]) -> tuple[Factors, Factors]:
    """The factor mean, and the residual that makes it exact (FedEx-LoRA: Singhal et al., arXiv 2410.09432).

    The paper adds the residual to the frozen base. Here the base is shared by its hash and never changes, so the
    residual stays a part of the expert, of up to the sum of ranks and one rank more; `truncated` makes it smaller.
    """
    mean, exact = factor_mean(factors, weights), exact_mean(factors, weights)
    return mean, Factors(
        np.concatenate([exact.b, -mean.b], axis=1), np.concatenate([exact.a, mean.a], axis=0)
    )


def truncated(product: Factors, rank: int) -> Factors:
    """The nearest product of this rank, zeros where the product's own is lower. Raises `AggregationError` for a rank under 1."""
    if rank < 1:
        raise AggregationError(f"rank {rank}: must be at least 1")
    left, upper = np.linalg.qr(product.b)
    right, lower = np.linalg.qr(product.a.T)
    u, values, vt = np.linalg.svd(upper @ lower.T)
    kept = min(rank, len(values))
    root = np.sqrt(values[:kept])
    b, a = (left @ u[:, :kept]) * root, root[:, None] * (vt[:kept] @ right.T)
    signs = np.where(b[np.abs(b).argmax(axis=0), np.arange(kept)] < 0, -1.0, 1.0)
    out, across = product.b.shape[0], product.a.shape[1]
    whole = Factors(np.zeros((out, rank)), np.zeros((rank, across)))
    whole.b[:, :kept], whole.a[:kept] = b * signs, signs[:, None] * a
    return whole


def relative_error(found: Factors, truth: Factors) -> float:
    """Frobenius norm of the difference of two products over that of the second, without forming either."""
    apart = Factors(np.concatenate([found.b, -truth.b], axis=1), np.concatenate([found.a, truth.a], axis=0))
    return _norm(apart) / _norm(truth)


def _norm(product: Factors) -> float:
    """Frobenius: from the triangular factors, as differences of squares would cancel."""
    return float(np.linalg.norm(np.linalg.qr(product.b)[1] @ np.linalg.qr(product.a.T)[1].T))


def _shares(factors: Sequence[Factors], weights: Sequence[float]) -> list[float]:
    if not factors or len(factors) != len(weights) or not all(0 < weight < np.inf for weight in weights):
        raise AggregationError(
            "every hospital's factors need a finite weight above 0, and there must be one at least"
        )
    if len({(one.b.shape[0], one.a.shape[1]) for one in factors}) != 1:
        raise AggregationError("factors of different layers have no mean")
    total = sum(weights)
    return [weight / total for weight in weights]
