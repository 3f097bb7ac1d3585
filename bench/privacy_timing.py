"""Medians of interleaved repeats: whatever slows the machine for a while slows all that is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

Figures = dict[str, object]


def medians(works: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Each work does its thing once and returns the seconds that it took; one warm-up of each, then rounds of all."""
    return {name: median(each) for name, each in interleaved(works, repeats).items()}


def interleaved(works: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """As `medians`, but all that was measured, in order."""
    for work in works.values():
        work()
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            took[name].append(work())
    return took


def figures(seconds: Mapping[str, float], floor: str) -> Figures:
    """`<name>_s` for every work, and `<name>_to_<floor>` for all but the floor."""
    found: Figures = {f"{name}_s": round(took, 4) for name, took in seconds.items()}
    for name, took in seconds.items():
        if name != floor:
            found[f"{name}_to_{floor}"] = round(took / seconds[floor], 3)
    return found
