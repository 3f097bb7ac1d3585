"""The noise in what leaves: of the charged strength in every tensor and value, and never the same twice.

All look at released tensors that were divided by the standard deviation that the mechanism promises, from
cohorts whose signal is far below the noise; so each value should be a standard Gaussian of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from privacy.selftest.verdict import Check, Finding

Standardised = Mapping[str, NDArray[np.floating]]

LEVEL = 1e-7  # chance of a false finding, over all tensors of one call
VALUES_NEEDED = 600  # of one tensor over all releases: then `power` of 2/3 and of 3/2 is above 0.99
_LEAST_VALUES = 32
_MOST_VALUES = 1024  # a correlation above 0.24 is then found, among up to ten million pairs
_ROWS = 1024  # compared with the rest at a time
_GAUGE = 1e-3  # of a variance: what the gauge's own error and a release's rounding may add to or take from it


def scale_findings(releases: Sequence[Standardised], where: str) -> list[Finding]:
    """Each tensor whose noise has not the promised scale, by a two-sided chi-square test over all `releases`.

    A tensor without noise, or one that a release lacks, is a finding too.
    """
    names = sorted(set().union(*releases))
    findings = []
    for name in names:
        missing = sum(name not in release for release in releases)
        if missing:
            findings.append(Finding(Check.NOISE_SCALE, f"{where}, {name}", f"absent from {missing} releases"))
            continue
        values = np.concatenate([np.ravel(release[name]) for release in releases]).astype(np.float64)
        statistic = float(np.square(values).sum())
        low, high = _accepted(values.size, len(names))
        if not low < statistic < high:
            ratio = (statistic / values.size) ** 0.5
            what = f"noise is {ratio:.3f} times what was promised, over {values.size} values"
            findings.append(Finding(Check.NOISE_SCALE, f"{where}, {name}", what))
    return findings


def pooled_findings(releases: Sequence[Standardised], where: str) -> list[Finding]:
    """A finding where the noise of all tensors of all `releases` together has not the promised scale.

    Two-sided chi-square test at `LEVEL`, with a thousandth of the variance let pass.
    """
    values = [value for release in releases for value in release.values()]
    count = sum(value.size for value in values)
    statistic = sum(float(np.square(value, dtype=np.float64).sum()) for value in values)
    low, high = _accepted(count, 1)
    if low * (1 - _GAUGE) < statistic < high * (1 + _GAUGE):
        return []
    ratio = (statistic / max(1, count)) ** 0.5
    what = f"noise is {ratio:.4f} times what was promised, over {count} values"
    return [Finding(Check.NOISE_SCALE, f"{where}, all tensors", what)]


def value_findings(releases: Sequence[Standardised], where: str) -> list[Finding]:
    """Each tensor in which a single value, looked at over all `releases`, has not the promised scale.

    Two-sided chi-square test of every value, at `LEVEL` over all of them. All releases hold the same tensors. Over
    120 releases a value without noise is always found, among up to 10^9.
    """
    coordinates = sum(value.size for value in releases[0].values())
    low, high = _accepted(len(releases), max(1, coordinates))
    findings = []
    for name in sorted(releases[0]):
        squares = np.zeros(releases[0][name].size)
        for release in releases:
            squares += np.square(np.ravel(release[name]), dtype=np.float64)
        wrong = np.flatnonzero(~((low < squares) & (squares < high)))
        if wrong.size:
            ratio = (squares[wrong[0]] / len(releases)) ** 0.5
            what = f"{wrong.size} of {squares.size} values hold other noise than promised; the first {ratio:.3f} times"
            findings.append(Finding(Check.NOISE_SCALE, f"{where}, {name}, one value", what))
    return findings


def power(values: int, ratio: float, tensors: int) -> float:
    """The chance that `scale_findings` finds noise of `ratio` times the promised scale in a tensor.

    `values` counts that tensor's values over all releases; `tensors` all tensors looked at.
    """
    low, high = _accepted(values, tensors)
    return float(stats.chi2.cdf(low / ratio**2, values) + stats.chi2.sf(high / ratio**2, values))


def repeat_findings(releases: Mapping[str, Standardised]) -> list[Finding]:
    """Each pair of tensors, within a release (named by the key) or across, whose noise is not independent.

    Two tensors are compared by the correlation of as many of their first values as both have, 1,024 at most; tensors
    of under 32 are left out. At `LEVEL` over all pairs: the square of a correlation of n independent Gaussian pairs
    follows Beta(1/2, (n - 1)/2). Three pairs are named for each number of values.
    """
    held = [
        (f"{release}, {name}", np.ravel(value)[:_MOST_VALUES])
        for release, tensors in releases.items()
        for name, value in tensors.items()
        if value.size >= _LEAST_VALUES
    ]
    held.sort(key=lambda one: one[1].size)
    pairs = max(1, len(held) * (len(held) - 1) // 2)
    findings = []
    start = 0
    for size, group in itertools.groupby(one[1].size for one in held):
        limit = float(stats.beta.isf(LEVEL / pairs, 0.5, (size - 1) / 2)) ** 0.5
        end = start + len(list(group))
        rows = np.stack([value[:size] for _, value in held[start:]]).astype(np.float64)
        length = np.sqrt(np.square(rows).sum(axis=1))
        unit = (rows / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)
        alike = itertools.chain.from_iterable(_alike(unit, end - start, limit))
        for i, j in itertools.islice(alike, 3):  # where noise repeats, it does so everywhere
            findings.append(
                Finding(Check.NOISE_REPEATS, held[start + i][0], f"shares noise with {held[start + j][0]}")
            )
        start = end
    return findings


def _alike(rows: NDArray[np.float32], first: int, limit: float) -> Iterator[list[tuple[int, int]]]:
    """The pairs i < j of unit rows that correlate beyond `limit`, i among the `first` rows; some rows at a time."""
    for at in range(0, first, _ROWS):
        block = np.abs(rows[at : min(at + _ROWS, first)] @ rows[at:].T) > limit
        yield [(at + int(i), at + int(j)) for i, j in np.argwhere(np.triu(block, k=1))]


def _accepted(values: int, tensors: int) -> tuple[float, float]:
    level = LEVEL / tensors
    return float(stats.chi2.ppf(level / 2, values)), float(stats.chi2.isf(level / 2, values))
