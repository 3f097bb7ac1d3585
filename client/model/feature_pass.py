"""The feature pass: all slides and regions that are asked about through the frozen tower, ahead of a campaign."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from client.errors import SlideError
from client.model.feature_grid import FeatureGrid
from client.model.slide_features import CutSlide, SlideFeatures
from client.slides.read_ahead import read_ahead
from client.slides.slide import Slide
from client.tasks.sample import Region, Sample


@dataclass(frozen=True)
class Work:
    """What is asked about one slide: the whole of it or not, and regions of it in order of place."""

    slide: Slide
    whole: bool
    regions: tuple[Region, ...]


@dataclass
class Tally:
    """How far a pass is: so many of `slides` finished, `done` of the pictures (tiles, then regions) of slide `name`.

    Tiles that were kept are those of slides stopped half-way. `failed` has the reason of each slide that can't serve,
    `unreadable` the number of a slide's tiles and regions that can't be read.
    """

    slides: int
    finished: int = 0
    name: str = ""
    done: int = 0
    of: int = 0
    slides_encoded: int = 0
    slides_kept: int = 0
    tiles_encoded: int = 0
    tiles_kept: int = 0
    regions_encoded: int = 0
    regions_kept: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)

    @property
    def tiles_per_second(self) -> float:
        """Tiles and regions that were encoded in a second of the pass."""
        return (self.tiles_encoded + self.regions_encoded) / self.seconds if self.seconds else 0.0


def work_of(samples: Iterable[Sample], slides: Mapping[str, Slide]) -> list[Work]:
    """What the samples ask about, slide by slide in order of name; each region once."""
    asked: dict[str, set[Region | None]] = {}
    for sample in samples:
        asked.setdefault(sample.slide, set()).add(sample.region)
    return [
        Work(slides[name], None in asked[name], tuple(sorted((r for r in asked[name] if r), key=_place)))
        for name in sorted(asked)
    ]


def encode_all(features: SlideFeatures, work: Sequence[Work], tell: Callable[[Tally], None]) -> Tally:
    """Encode what is not in the cache. A slide, tile or region that can't be read is named, and the pass goes on.

    While a slide is encoded, the next is opened and its tissue found. Stopped at any time, the pass goes on from the
    last batch when it is run again.
    """
    under_way = _Pass(features, len(work), tell)
    with closing(read_ahead(work, under_way.begin, threads=1, ahead=1)) as begun:
        for item, found in zip(work, begun, strict=True):
            under_way.finish(item, found)
    return under_way.tally


class _Pass:
    def __init__(self, features: SlideFeatures, slides: int, tell: Callable[[Tally], None]) -> None:
        self._features, self._tell = features, tell
        self._start = time.monotonic()
        self.tally = Tally(slides)

    def begin(self, item: Work) -> CutSlide | FeatureGrid | SlideError | None:
        """What has to be encoded, or pooled, of the whole slide; None where nothing has to be."""
        try:
            if not item.whole or self._features.has(item.slide):
                return None
            return self._features.kept_grid(item.slide) or self._features.cut(item.slide)
        except SlideError as error:
            return error

    def finish(self, item: Work, begun: CutSlide | FeatureGrid | SlideError | None) -> None:
        self.tally.name, self.tally.done, self.tally.of = item.slide.name, 0, 0
        try:
            if isinstance(begun, SlideError):
                raise begun
            if item.whole:
                self._whole(item.slide, begun)
            self._regions(item)
        except SlideError as error:
            self.tally.failed[item.slide.name] = error.reason
        self.tally.finished += 1
        self._told()

    def _whole(self, slide: Slide, begun: CutSlide | FeatureGrid | None) -> None:
        if isinstance(begun, CutSlide):
            grid = self._features.encode(begun, self._count)
            self._features.pool(slide, grid)
            self.tally.slides_encoded += 1
            self._unreadable(slide, len(grid.missing))
            return
        if begun is not None:
            self._features.pool(slide, begun)
        self.tally.slides_kept += 1

    def _regions(self, item: Work) -> None:
        left = [region for region in item.regions if not self._features.has_region(item.slide, region)]
        self.tally.regions_kept += len(item.regions) - len(left)
        if not left:
            return
        self.tally.done, self.tally.of = 0, len(left)
        with closing(self._features.encode_regions(item.slide, left)) as encoded:
            for _, visual in encoded:
                bad = isinstance(visual, SlideError)
                self._unreadable(item.slide, int(bad))
                self.tally.regions_encoded += not bad
                self.tally.done += 1
                self._told()

    def _count(self, encoded: int, kept: int, of: int) -> None:
        self.tally.tiles_encoded += encoded
        self.tally.tiles_kept += kept
        self.tally.done += encoded + kept
        self.tally.of = of
        self._told()

    def _unreadable(self, slide: Slide, count: int) -> None:
        if count:
            self.tally.unreadable[slide.name] = self.tally.unreadable.get(slide.name, 0) + count

    def _told(self) -> None:
        self.tally.seconds = time.monotonic() - self._start
        self._tell(self.tally)


def _place(region: Region) -> tuple[int, int, int, int]:
    return region.x, region.y, region.width, region.height
