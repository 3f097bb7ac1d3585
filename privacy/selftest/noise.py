"""The noise in what leaves: of the charged strength in every tensor, and never the same twice.

Both look at released tensors that were divided by the standard deviation that the mechanism promises, from
cohorts whose signal is far below the noise; so each value should be a standard Gaussian of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from privacy.selftest.verdict import Check, Finding

Standardised = Mapping[str, NDArray[np.floating]]

LEVEL = 1e-7  # chance of a false finding, over all tensors of one call
VALUES_NEEDED = 600  # of one tensor over all releases: then `power` of 2/3 and of 3/2 is above 0.99
_REPEATED = 0.9  # correlation; of 32 independent pairs it is passed with chance under 1e-11
_LEAST_VALUES = 32
_MOST_VALUES = 4096


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


def power(values: int, ratio: float, tensors: int) -> float:
    """The chance that `scale_findings` finds noise of `ratio` times the promised scale in a tensor.

    `values` counts that tensor's values over all releases; `tensors` all tensors looked at.
    """
    low, high = _accepted(values, tensors)
    return float(stats.chi2.cdf(low / ratio**2, values) + stats.chi2.sf(high / ratio**2, values))


def repeat_findings(releases: Mapping[str, Standardised]) -> list[Finding]:
    """Each pair of tensors, within a release (named by the key) or across, that carry the same noise.

    Tensors of one number of values are compared, up to 4,096 values each; those of under 32 are left out.
    """
    by_size: dict[int, list[tuple[str, NDArray[np.floating]]]] = {}
    for release, tensors in releases.items():
        for name, value in tensors.items():
            if value.size >= _LEAST_VALUES:
                held = (f"{release}, {name}", np.ravel(value)[:_MOST_VALUES])
                by_size.setdefault(value.size, []).append(held)
    findings = []
    for group in by_size.values():
        rows = np.stack([value for _, value in group]).astype(np.float64)
        length = np.sqrt(np.square(rows).sum(axis=1))
        rows /= np.where(length > 0, length, 1.0)[:, None]
        alike = np.argwhere(np.triu(np.abs(rows @ rows.T) > _REPEATED, k=1))
        for i, j in itertools.islice(alike, 3):  # where noise repeats, it does so everywhere
            findings.append(Finding(Check.NOISE_REPEATS, group[i][0], f"has the noise of {group[j][0]} too"))
    return findings


def _accepted(values: int, tensors: int) -> tuple[float, float]:
    level = LEVEL / tensors
    return float(stats.chi2.ppf(level / 2, values)), float(stats.chi2.isf(level / 2, values))
