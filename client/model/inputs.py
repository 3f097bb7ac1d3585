"""From samples to what the model sees: pixels are read and encoded once, and kept: in memory while that allows, and on
disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import closing

from client.errors import SlideError, told_of
from client.model.slide_features import SlideFeatures
from client.model.visual import Visual
from client.slides.slide import Slide
from client.tasks.sample import Region, Sample

Key = tuple[str, Region | None]


class InputLoader:
    """Visual inputs of samples, by slide and region; the least recently used leave once `memory` bytes are
    held.
    """

    def __init__(self, slides: Mapping[str, Slide], features: SlideFeatures, memory: int = 1 << 30) -> None:
        self._slides = slides
        self._features = features
        self._memory = memory
        self._held: OrderedDict[Key, Visual] = OrderedDict()
        self._bytes = 0

    def __call__(self, samples: Sequence[Sample]) -> list[Visual]:
        """One visual input a sample, in order, on the CPU; distinct regions go through the vision tower once.

        Raises SlideError where a slide can't be read any more.
        """
        keys = [(sample.slide, sample.region) for sample in samples]
        found = {key: self._held[key] for key in keys if key in self._held}
        found |= self._encode(sorted({key for key in keys if key not in found}, key=_order))
        for key in found:
            self._keep(key, found[key])
        return [found[key] for key in keys]

    def _encode(self, keys: Sequence[Key]) -> dict[Key, Visual]:
        found: dict[Key, Visual] = {}
        missing: dict[str, list[Region]] = {}
        for name, region in keys:
            with told_of(name):
                if region is None:
                    found[name, None] = self._features.load(self._slides[name])
                elif (kept := self._features.region(self._slides[name], region)) is not None:
                    found[name, region] = kept
                else:
                    missing.setdefault(name, []).append(region)
        for name, regions in missing.items():
            with (
                told_of(name),
                closing(self._features.encode_regions(self._slides[name], regions)) as encoded,
            ):
                for region, visual in encoded:
                    if isinstance(visual, SlideError):
                        raise visual
                    found[name, region] = visual
        return found

    def _keep(self, key: Key, visual: Visual) -> None:
        if key not in self._held:
            self._held[key] = visual
            self._bytes += visual.nbytes
        self._held.move_to_end(key)
        while self._bytes > self._memory and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes


def _order(key: Key) -> tuple[str, tuple[int, ...]]:
    region = key[1]
    return key[0], () if region is None else (region.x, region.y, region.width, region.height)
