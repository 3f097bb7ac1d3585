"""Shrinking an aggregate by its known noise: post-processing, so it costs no privacy."""

from __future__ import annotations

import numpy as np

from strategies.gathered import Change, Values

NONE, BY_TENSOR, BY_ROW = "none", "tensor", "row"
SHRINKAGES = (NONE, BY_TENSOR, BY_ROW)
_LEAST_VALUES = 3  # James and Stein's estimator gains from three values on


def shrunk(change: Change | Values, noise_variance: float, by: str) -> Change | Values:
    """The change of one tensor, each group scaled by `max(0, 1 - (n - 2) v / |x|^2)`: its positive part's James-Stein
    estimator, n values x with noise of variance v each (Efron and Morris 1973).

    A group is the whole tensor (`tensor`) or what one index of its first axis holds (`row`); `none` returns the change. For
    Gaussian noise the expected squared error is below the unshrunk one's, whatever the signal is; a group that is noise
    alone goes to about 0. Large groups estimate their factor well, small ones follow a signal that lies in few rows. (A Wiener
    filter with the signal's power estimated from the group is the same with n for n - 2.)
    """
    if by == NONE:
        return change
    groups = change.reshape(1 if by == BY_TENSOR or change.ndim == 0 else len(change), -1)
    count = groups.shape[1]
    if count < _LEAST_VALUES:
        return change
    power = np.square(groups, dtype=np.float64).sum(axis=1, keepdims=True)
    kept = 1.0 - (count - 2) * noise_variance / np.where(power > 0, power, 1.0)
    return (groups * np.maximum(kept, 0.0)).reshape(change.shape)
