"""Slides and regions as visual tokens: read once, through the frozen vision tower once, cached on disk.

A whole slide is a grid of tissue tiles, one token a tile. Where it has more tiles than the base reads tokens,
neighbouring tiles are pooled, when it is loaded. Reading overlaps computing, and a slide goes on where it was stopped:
its tiles go through the tower in fixed batches, and each batch is kept as soon as it is through. So a slide's features
are the same to the bit wherever it was stopped, for a tile always meets the same others (docs/adr/0016).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.errors import SlideError, UnreadableSlideError
from client.model.base import Base
from client.model.feature_cache import FeatureCache, feature_key
from client.model.feature_grid import FeatureGrid
from client.model.visual import IMAGES_A_PASS, Visual, encode_images
from client.slides.file_state import FileState
from client.slides.fingerprint import COVERED, fingerprint
from client.slides.openings import Openings
from client.slides.read_ahead import picture_or_error, read_ahead
from client.slides.slide import Slide, SlideReader
from client.slides.tiles import Cells, Grid, Tile, grid_over, tissue_cells
from client.slides.tissue_map import tissue_map
from client.tasks.sample import Region

_AHEAD = 2 * IMAGES_A_PASS  # pictures read beyond those that the tower is at work on
_LOG = logging.getLogger("fedpath.features")

Picture = NDArray[np.uint8]
Tell = Callable[[int, int, int], None]  # tiles encoded just now, tiles found kept, tiles in all


@dataclass(frozen=True)
class CutSlide:
    """A slide opened and cut, to be encoded: which cells of its grid hold tissue, and the file's fingerprint."""

    slide: Slide
    reader: SlideReader
    grid: Grid
    cells: Cells
    fingerprint: str


class SlideFeatures:
    """Features of slides and regions for one base. `folder` is a cache of this hospital's own; what it holds never
    leaves.

    What training reads lies in `folder` itself; the grids that slides are pooled from, and batches of a slide under
    way, in `folder/grids`. Each is bounded by itself: a grid that is pushed out takes nothing along.
    """

    def __init__(self, base: Base, folder: Path) -> None:
        self._base = base
        self._cache = FeatureCache(folder)
        self._grids = FeatureCache(folder / "grids")
        self._threads = 1 if base.device.type == "cpu" else min(8, os.cpu_count() or 1)
        self._openings = Openings()
        self._prints: dict[Path, tuple[FileState, str]] = {}

    def load(self, slide: Slide) -> Visual:
        """The slide's tokens [1..wsi_max_tokens, features], on the CPU, from the cache where they were computed before.

        Tiles that can't be read are left out, and the log says so. Raises SlideError where none can, or the slide
        can't.
        """
        if (kept := self._cache.get(self._slide_key(slide))) is not None:
            return Visual.from_tensors(kept)
        return self.pool(slide, self.grid(slide))

    def has(self, slide: Slide) -> bool:
        """Whether `load` will find the slide in the cache. Raises SlideError."""
        return self._cache.has(self._slide_key(slide))

    def pool(self, slide: Slide, grid: FeatureGrid) -> Visual:
        """The slide's tokens out of its grid; kept for `load` unless tiles are missing."""
        visual = Visual(grid.pooled(self._base.scales.wsi_max_tokens))
        if not len(grid.missing):
            self._cache.put(self._slide_key(slide), visual.to_tensors())
        return visual

    def grid(self, slide: Slide) -> FeatureGrid:
        """The slide's grid of features, on the CPU: from the cache, or computed. Raises SlideError."""
        return self.kept_grid(slide) or self.encode(self.cut(slide))

    def kept_grid(self, slide: Slide) -> FeatureGrid | None:
        """The slide's grid of features where it is in the cache. Raises SlideError."""
        kept = self._grids.get(self._grid_key(slide))
        return None if kept is None else FeatureGrid.from_tensors(kept)

    def cut(self, slide: Slide) -> CutSlide:
        """Open the slide and find its tiles of tissue; `encode` closes it. Raises SlideError."""
        scales, found = self._base.scales, self._print(slide.path)
        reader = self._openings.open(slide)
        try:
            grid = grid_over(reader.slide, scales.wsi_mpp, scales.roi_pixels)
            return CutSlide(slide, reader, grid, tissue_cells(tissue_map(reader), grid), found)
        except SlideError:
            reader.close()
            raise

    def encode(self, cut: CutSlide, tell: Tell = lambda encoded, kept, of: None) -> FeatureGrid:
        """The tiles of a slide through the tower, IMAGES_A_PASS at once; batches that are kept are not computed again.

        A whole grid is kept. Tiles that can't be read are missing in it; then it is not kept, but its whole batches
        are. Raises SlideError where no tile or not even the slide can be read, and where the file changes meanwhile.
        """
        starts = range(0, len(cut.cells), IMAGES_A_PASS)
        batches = [cut.grid.tiles(cut.cells[start : start + IMAGES_A_PASS]) for start in starts]
        keys = [
            self._key(cut.slide, "batch", repr(self._base.scales.wsi_mpp), repr(batch)) for batch in batches
        ]
        kept = [self._grids.get(key) for key in keys]
        left = [tile for batch, found in zip(batches, kept, strict=True) if found is None for tile in batch]
        tell(0, len(cut.cells) - len(left), len(cut.cells))
        tokens: list[Tensor] = []
        errors: list[SlideError | None] = []
        with cut.reader, closing(self._pictures(cut.reader, left, self._base.scales.wsi_mpp)) as pictures:
            for batch, key, found in zip(batches, keys, kept, strict=True):
                if found is not None:
                    tokens.append(found["tokens"])
                    errors += [None] * len(batch)
                    continue
                read = [next(pictures) for _ in batch]
                tokens.append(self._tile_tokens([p for p in read if not isinstance(p, SlideError)]))
                errors += [p if isinstance(p, SlideError) else None for p in read]
                self._require_same(cut.slide, cut.fingerprint)
                if len(tokens[-1]) == len(batch):
                    self._grids.put(key, {"tokens": tokens[-1]})
                tell(len(tokens[-1]), 0, len(cut.cells))
        cells, missing = torch.from_numpy(cut.cells), torch.tensor([error is not None for error in errors])
        grid = FeatureGrid(torch.cat(tokens), cells[~missing], cells[missing])
        if bad := [error for error in errors if error is not None]:
            # Which slide that is stands in no log: its name may be a person's. `fedpath-hospital features` names it.
            _LOG.warning("%d of %d tiles of a slide can't be read", len(bad), len(errors))
            if len(bad) == len(errors):
                raise bad[0]
            return grid
        self._grids.put(self._grid_key(cut.slide), grid.to_tensors())
        self._grids.remove(keys)
        return grid

    def region(self, slide: Slide, region: Region) -> Visual | None:
        """The region's tokens, on the CPU, where they are in the cache. Raises SlideError."""
        kept = self._cache.get(self._region_key(slide, region))
        return None if kept is None else Visual.from_tensors(kept)

    def has_region(self, slide: Slide, region: Region) -> bool:
        """Whether `region` will find it. Raises SlideError."""
        return self._cache.has(self._region_key(slide, region))

    def encode_regions(
        self, slide: Slide, regions: Sequence[Region]
    ) -> Generator[tuple[Region, Visual | SlideError], None, None]:
        """Regions of one slide through the tower, in order, each kept; or why one can't be read.

        A region goes alone: what it becomes is its own, to the last bit. Raises SlideError where the slide can't be
        read, or changes meanwhile.
        """
        found = self._print(slide.path)
        tiles = [Tile(region.x, region.y, region.width, region.height) for region in regions]
        with self._openings.open(slide) as reader, closing(self._pictures(reader, tiles)) as pictures:
            for region, picture in zip(regions, pictures, strict=True):
                if isinstance(picture, SlideError):
                    yield region, picture
                    continue
                visual = encode_images(self._base, [picture])[0].to(torch.device("cpu"))
                self._require_same(slide, found)
                self._cache.put(self._region_key(slide, region), visual.to_tensors())
                yield region, visual

    def _pictures(
        self, reader: SlideReader, tiles: Sequence[Tile], mpp: float | None = None
    ) -> Generator[Picture | SlideError, None, None]:
        """The tiles as the tower takes them, read ahead; without `mpp`, each at the finest scale that a region of its
        size may have."""
        scales = self._base.scales

        def read(tile: Tile) -> Picture | SlideError:
            longest = max(tile.width, tile.height) * reader.slide.mpp
            scale = mpp or max(scales.roi_mpp, longest / scales.roi_pixels)
            picture = picture_or_error(reader, tile.x, tile.y, tile.width, tile.height, scale)
            if isinstance(picture, SlideError) or (mpp is not None and self._base.slide_encoder is not None):
                return picture
            return self._base.fit(picture)

        return read_ahead(tiles, read, self._threads, _AHEAD)

    def _tile_tokens(self, pictures: Sequence[Picture]) -> Tensor:
        """One token a tile [n, features], on the CPU: of the slide encoder, or the mean of the tower's."""
        if self._base.slide_encoder is not None:
            return self._base.slide_encoder.encode(pictures)
        if not pictures:
            return torch.empty(0, self._base.width, dtype=self._base.model.dtype)
        visuals = encode_images(self._base, pictures)
        return (
            torch.stack([visual.tokens.float().mean(0) for visual in visuals])
            .to(self._base.model.dtype)
            .cpu()
        )

    def _slide_key(self, slide: Slide) -> str:
        scales = self._base.scales
        return self._key(slide, "slide", repr((scales.wsi_mpp, scales.roi_pixels, scales.wsi_max_tokens)))

    def _grid_key(self, slide: Slide) -> str:
        return self._key(slide, "grid", repr((self._base.scales.wsi_mpp, self._base.scales.roi_pixels)))

    def _region_key(self, slide: Slide, region: Region) -> str:
        scales = self._base.scales
        return self._key(slide, "region", repr((region, scales.roi_mpp, scales.roi_pixels)))

    def _key(self, slide: Slide, *what: str) -> str:
        """The cache's name of what the base's encoder makes of this slide: by the file's content, the encoder, its
        precision, and `what` was looked at.
        """
        return feature_key(
            self._print(slide.path), repr(slide.mpp), self._base.hash, str(self._base.model.dtype), *what
        )

    def _require_same(self, slide: Slide, found: str) -> None:
        """Raise UnreadableSlideError where the file is not what it was: nothing of two files is kept as one's."""
        if self._print(slide.path) != found:
            raise UnreadableSlideError(slide.name)

    def _print(self, path: Path) -> str:
        """`fingerprint`, and when the file was written last where that does not see every byte (a slide that was mended
        is another one); taken anew where the file has changed. Raises SlideError."""
        try:
            now = FileState.of(path.stat())
            if path not in self._prints or self._prints[path][0] != now:
                written = f" {now.modified_ns}" if now.size > COVERED else ""
                self._prints[path] = now, fingerprint(path) + written
        except OSError:
            raise UnreadableSlideError(path.name) from None
        return self._prints[path][1]
