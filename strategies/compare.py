"""Where two states differ first, and whether two reports do: for the eyes of who replays a round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from privacy import tensors
from privacy.errors import WireError

_CLOSE = 2e-3  # of figures that are told to four digits, from sums in float32 which machines add in orders of their own
_CLOSE_SHARES = 1e-5  # of shares, told to six


def first_difference(recomputed: bytes, told: bytes, limit: int) -> tuple[str | None, str]:
    """The first tensor in which they differ, in the order of names (None where they do in another way), and how, in words."""
    try:
        mine, theirs = tensors.decode(recomputed, limit), tensors.decode(told, limit)
    except WireError as error:
        return None, f"the one that was kept can't be read: {error}"
    for name in sorted({*mine, *theirs}):
        if name not in theirs or name not in mine:
            return name, f"{name} is only in the {'recomputed' if name in mine else 'kept'} one"
        one, other = mine[name], theirs[name]
        if one.shape != other.shape:
            return name, f"{name} has shape {one.shape} recomputed and {other.shape} kept"
        odd = np.flatnonzero(one.view(np.uint32).reshape(-1) != other.view(np.uint32).reshape(-1))
        if odd.size:
            place = int(odd[0])
            a, b = one.reshape(-1)[place], other.reshape(-1)[place]
            most = float(np.max(np.abs(one.astype(np.float64) - other)))
            return (
                name,
                f"first in {name}, value {place}: {a:.9g} recomputed, {b:.9g} kept; {odd.size} of its {one.size} "
                f"values differ, by {most:.3g} at most",
            )
    return None, "their values are the same and their bytes are not"


def reports_differ(recomputed: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """Where a report says another thing, in words; None where it does not, but for the last digits of its figures."""
    return _differ("report", _plain(recomputed), told)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _differ(where: str, one: Any, other: Any) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                return f"{where}.{key} is only {'recomputed' if key in one else 'in the journal'}"
            if (found := _differ(f"{where}.{key}", one[key], other[key])) is not None:
                return found
        return None
    if type(one) is float and type(other) is float:
        close = _CLOSE_SHARES if where.startswith("report.shares.") else _CLOSE
        if math.isclose(one, other, rel_tol=close, abs_tol=close):
            return None
    elif type(one) is type(other) and one == other:
        return None
    return f"{where} is {one!r} recomputed and {other!r} in the journal"
