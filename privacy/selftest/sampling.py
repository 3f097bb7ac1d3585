"""Whether patients are drawn as charged for, and whether a round adds up what it drew.

Draws are a table [steps, patients] of who took part in which step; the accounting holds where each entry is a coin
of its own that falls so with the plan's rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from privacy.selftest.verdict import Check, Finding

LEVEL = 1e-7  # chance of a false finding of each of the `TESTS`
TESTS = 6
_BY_APPROXIMATION = (
    1e-8  # for sums judged as if they were Gaussian: leaves ten times for what that gets wrong
)
ADDS_UP = 3e-3  # relative: what the gauge's own error and float32 may change


def draw_findings(drawn: NDArray[np.bool_], rate: float, where: str) -> list[Finding]:
    """What tells that `drawn` [steps, patients] is no table of independent coins of this `rate`.

    | test                                       | finds                                                    |
    |--------------------------------------------|----------------------------------------------------------|
    | all entries: binomial                      | another rate                                             |
    | each draw's size: chi-square               | draws of a fixed size, or that share what they draw      |
    | the largest and the smallest draw: binomial| draws that are capped, or padded, near what is expected  |
    | each patient's count: chi-square           | steps that share a draw, patients dealt out evenly       |
    | each patient's count: binomial, Bonferroni | a patient who is drawn always, or never                  |
    | overlap of draws that follow one another   | a draw that holds on to, or avoids, the one before       |
    """
    steps, patients = drawn.shape
    entry = rate * (1 - rate)
    by_step, by_patient = drawn.sum(1), drawn.sum(0)
    findings = []

    def found(what: str) -> None:
        findings.append(Finding(Check.SAMPLING, where, what))

    low, high = accepted_entries(drawn.size, rate)
    if not low <= int(drawn.sum()) <= high:
        found(f"patients took part at rate {drawn.mean():.4f}, charged was {rate:g}")
    sizes = float(np.square(by_step - patients * rate).sum()) / (patients * entry)
    if not _as_chi_square(sizes, steps):
        found(f"the sizes of draws vary {(sizes / steps) ** 0.5:.2f} times as much as those of coins")
    least, most = int(by_step.min()), int(by_step.max())
    if steps * stats.binom.logcdf(most, patients, rate) < np.log(LEVEL / 2):
        found(f"no draw of {steps} is larger than {most}, as if capped")
    if steps * stats.binom.logsf(least - 1, patients, rate) < np.log(LEVEL / 2):
        found(f"no draw of {steps} is smaller than {least}, as if padded")
    counts = float(np.square(by_patient - steps * rate).sum()) / (steps * entry)
    if not _as_chi_square(counts, patients):
        found(f"patients' shares vary {(counts / patients) ** 0.5:.2f} times as much as those of coins")
    fewest, oftenest = stats.binom.ppf([_each(patients), 1 - _each(patients)], steps, rate)
    odd = int(((by_patient < fewest) | (by_patient > oftenest)).sum())
    if odd:
        found(
            f"{odd} patients took part in fewer than {fewest:.0f} or more than {oftenest:.0f} of {steps} steps"
        )
    overlap = float((drawn[1:] & drawn[:-1]).sum())
    mean = patients * (steps - 1) * rate**2
    both, shared = rate**2 - rate**4, rate**3 - rate**4  # a product's variance; its covariance with the next
    spread = (patients * ((steps - 1) * both + 2 * (steps - 2) * shared)) ** 0.5
    if not abs(overlap - mean) < spread * stats.norm.isf(_BY_APPROXIMATION / 2):
        found(f"a draw shares {overlap / mean:.2f} times as many patients with the next as coins would")
    return findings


def accepted_entries(entries: int, rate: float) -> tuple[int, int]:
    """How often, at least and at most, `entries` coins of this rate fall so but for a chance of `LEVEL`."""
    low, high = stats.binom.ppf([LEVEL / 2, 1 - LEVEL / 2], entries, rate)
    return int(low), int(high)


def power(entries: int, rate: float, ratio: float) -> float:
    """The chance that `draw_findings` finds a rate that is `ratio` times the one charged."""
    low, high = accepted_entries(entries, rate)
    truth = stats.binom(entries, ratio * rate)
    return float(truth.cdf(low - 1) + truth.sf(high))


def step_findings(
    drawn: NDArray[np.bool_],
    weights: Sequence[float],
    change: NDArray[np.floating],
    unit: float,
    where: str,
) -> list[Finding]:
    """A finding where a round without noise did not move each patient's own coordinate by what its steps say.

    change: [patients]; it should be -`unit` times the sum over steps of weights[t] * drawn[t], a `unit` that holds
    public numbers alone.
    """
    expected = -unit * (np.asarray(weights) @ drawn)
    off = float(np.abs(change - expected).max() / max(float(np.abs(expected).max()), unit))
    if off <= ADDS_UP:
        return []
    what = f"a patient's part differs by {off:.3f} of the largest from the sum of the round's own steps over the public number"
    return [Finding(Check.STEPS, where, what)]


def _as_chi_square(statistic: float, degrees: int) -> bool:
    level = _BY_APPROXIMATION / 2
    return bool(stats.chi2.ppf(level, degrees) < statistic < stats.chi2.isf(level, degrees))


def _each(patients: int) -> float:
    return LEVEL / (2 * patients)
