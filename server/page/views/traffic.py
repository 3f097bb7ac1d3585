"""What went out to hospitals: the experts that each plan comes with. Flower's own envelope around them is not counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from privacy.plan import Plan

Stage = tuple[str, str]  # a campaign and the kind of one of its stages
Each = Mapping[Stage, int | None]


def sent_each(plans: Mapping[Stage, bytes], size: Callable[[str], int | None]) -> Each:
    """Bytes of the experts that go to one hospital in a round of each stage (an expert keeps its size); None where a state
    is lost, so that its size is not known.
    """
    found: dict[Stage, int | None] = {}
    for stage, plan in plans.items():
        sizes = [size(digest) for digest in Plan.from_bytes(plan).experts_hash.values()]
        known = [one for one in sizes if one is not None]
        found[stage] = sum(known) if len(known) == len(sizes) else None
    return found


def sent_by_campaign(asked: Sequence[Mapping[str, Any]], each: Each) -> dict[str, int | None]:
    """Bytes to all hospitals, by campaign."""
    return _sums(asked, each, "campaign")


def sent_by_hospital(asked: Sequence[Mapping[str, Any]], each: Each) -> dict[str, int | None]:
    """Bytes to each hospital, in all campaigns."""
    return _sums(asked, each, "hospital")


def _sums(asked: Sequence[Mapping[str, Any]], each: Each, by: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for row in asked:
        one, before = each.get((row["campaign"], row["stage"])), found.get(row[by], 0)
        found[row[by]] = None if one is None or before is None else before + one * row["asked"]
    return found
