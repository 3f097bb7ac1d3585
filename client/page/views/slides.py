"""The cohort's slides: which serve, which do not and why, and what kinds there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from client.errors import slide_error
from client.slides.catalogue import Entry
from client.slides.quality import Quality

_SCALES = (
    (0.3, "about 40x (under 0.3 µm a pixel)"),
    (0.7, "about 20x (0.3 to 0.7)"),
    (1.5, "about 10x (0.7 to 1.5)"),
)
_COARSE = "coarser (1.5 µm a pixel and more)"


@dataclass(frozen=True)
class Serving:
    """A slide that can serve. `mpp`: microns per level-0 pixel, as mpp.csv states it or else the file; `key` is its
    pseudonym, by which an address names it; `stamp` is another one when the file is.
    """

    name: str
    key: str
    stamp: str
    vendor: str
    mpp: float
    objective: float | None
    width: int
    height: int
    quality: Quality | None
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """Why some slides do not serve, and what to do."""

    reason: str
    what: str
    advice: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Cohort:
    """All slides that are known. `kinds`: what they are, in words, and how many; `measured`: of how many the quality is known."""

    serving: tuple[Serving, ...]
    skipped: tuple[Skipped, ...]
    by_vendor: tuple[tuple[str, int], ...]
    by_scale: tuple[tuple[str, int], ...]
    by_flag: tuple[tuple[str, int], ...]
    measured: int

    @property
    def out(self) -> int:
        """How many do not serve."""
        return sum(len(group.names) for group in self.skipped)


def cohort(entries: Mapping[str, Entry], stated: Mapping[str, float], told: Mapping[str, str]) -> Cohort:
    """Of the catalogue's entries, of what mpp.csv states, and of the slides that the agent says it skips (name: reason)."""
    reasons = {name: reason for name, entry in entries.items() if (reason := _reason(entry, stated))}
    reasons |= {name: reason for name, reason in told.items() if name not in reasons}
    serving = tuple(
        _serving(entry, stated)
        for name, entry in entries.items()
        if name not in reasons and not entry.gone and entry.facts is not None
    )
    return Cohort(
        serving,
        _groups(reasons),
        _counts(serving, lambda slide: slide.vendor),
        _counts(serving, lambda slide: scale_words(slide.mpp)),
        tuple(Counter(flag for slide in serving for flag in slide.flags).most_common()),
        sum(slide.quality is not None for slide in serving),
    )


def scale_words(mpp: float) -> str:
    """What a pathologist calls it, and what it is."""
    return next((words for below, words in _SCALES if mpp < below), _COARSE)


def _reason(entry: Entry, stated: Mapping[str, float]) -> str:
    if entry.gone:
        return ""  # the agent says so of one that is asked about
    if entry.reason or entry.facts is None:
        return entry.reason or "unreadable"
    return "" if entry.name in stated else entry.facts.unscaled


def _serving(entry: Entry, stated: Mapping[str, float]) -> Serving:
    facts = entry.facts
    assert facts is not None
    return Serving(
        entry.name,
        entry.key,
        entry.stamp,
        facts.vendor or "other",
        stated.get(entry.name, facts.mpp or 0.0),
        facts.objective,
        facts.width,
        facts.height,
        entry.quality,
        () if entry.quality is None else entry.quality.flags,
    )


def _groups(reasons: Mapping[str, str]) -> tuple[Skipped, ...]:
    found = []
    for reason, _ in Counter(reasons.values()).most_common():
        names = tuple(sorted(name for name, one in reasons.items() if one == reason))
        error = slide_error(reason, "")
        found.append(Skipped(reason, error.what, error.advice, names))
    return tuple(found)


def _counts(serving: Sequence[Serving], of: Callable[[Serving], str]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(map(of, serving)).most_common())
