"""What is kept of an opened slide: a name, a scale and sizes, and nothing else of what its file states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openslide

from client.errors import AbsurdMppError, HugeTileError, MissingMppError, NoLevelsError
from client.slides.scales import LEAST, MOST

_SQUARE = 1.05  # pixels whose sides differ by more have no one scale
_TILE_BYTES = 256 << 20  # of a tile as OpenSlide holds it; it may need as much again to decode one


@dataclass(frozen=True)
class Slide:
    """What is kept of an opened slide: level-0 size in pixels, microns per level-0 pixel, each level's downsample: the
    whole factor that its size was rounded from, or where there is none, OpenSlide's quotient of the sizes."""

    name: str
    path: Path
    mpp: float
    width: int
    height: int
    downsamples: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mpp) and self.mpp > 0 and self.width > 0 and self.height > 0):
            raise ValueError(f"slide {self.name}: size and mpp must be positive")
        if not self.downsamples or list(self.downsamples) != sorted(self.downsamples):
            raise ValueError(f"slide {self.name}: downsamples must rise from level 0 on")


def describe(path: Path, handle: openslide.AbstractSlide, mpp: float | None) -> Slide:
    """The slide with all levels that OpenSlide finds; `mpp` is what someone who knows says of its pixels.

    Raises NoLevelsError, MissingMppError, AbsurdMppError, HugeTileError.
    """
    sizes = handle.level_dimensions
    if not sizes or min(min(size) for size in sizes) < 1:
        raise NoLevelsError(path.name)
    for level in range(len(sizes)):
        across, down = (
            int(handle.properties.get(f"openslide.level[{level}].tile-{side}", 0))
            for side in ("width", "height")
        )
        if across * down * 4 > _TILE_BYTES:
            raise HugeTileError(path.name)
    return Slide(
        name=path.name,
        path=path,
        mpp=_mpp(path, handle) if mpp is None else _usable(path, mpp),
        width=sizes[0][0],
        height=sizes[0][1],
        downsamples=_downsamples(handle.level_downsamples, sizes),
    )


def _downsamples(stated: Sequence[float], sizes: Sequence[tuple[int, int]]) -> tuple[float, ...]:
    """OpenSlide's quotients of the levels' sizes, or the whole factors from which the sizes were rounded, where those
    rise as the quotients do.

    4443 pixels averaged by twos make 2221, and 4443 / 2221 = 2.0005: read by that, the level's far end would lie half a
    pixel off its place.
    """
    quotients = tuple(map(float, stated))
    whole = tuple(_whole(quotient, sizes[0], size) for quotient, size in zip(quotients, sizes, strict=True))
    return whole if list(whole) == sorted(whole) else quotients


def _whole(quotient: float, full: tuple[int, int], size: tuple[int, int]) -> float:
    factor = round(quotient)
    fits = all(long // factor <= side <= -(-long // factor) for long, side in zip(full, size, strict=True))
    return float(factor) if fits else quotient


def _mpp(path: Path, handle: openslide.AbstractSlide) -> float:
    """Microns per level-0 pixel: the geometric mean of both directions."""
    try:
        across = float(handle.properties[openslide.PROPERTY_NAME_MPP_X])
        down = float(handle.properties[openslide.PROPERTY_NAME_MPP_Y])
    except (KeyError, ValueError):
        raise MissingMppError(path.name) from None
    across, down = _usable(path, across), _usable(path, down)
    if not 1 / _SQUARE <= across / down <= _SQUARE:
        raise AbsurdMppError(path.name)
    return math.sqrt(across * down)


def _usable(path: Path, mpp: float) -> float:
    if not LEAST < mpp < MOST:
        raise AbsurdMppError(path.name)
    return mpp
