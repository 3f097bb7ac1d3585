"""A whole slide as tokens: tissue tiles through the frozen vision tower once, one token a tile, cached on
disk.

Tiles stand in grid order, row by row. Where a slide has more tiles than the base reads tokens, neighbouring
tiles are pooled by the smallest whole factor that makes them fit, so that the slide's geometry is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from client.errors import UnreadableSlideError
from client.model.base import Base
from client.model.feature_cache import FeatureCache, feature_key
from client.model.visual import IMAGES_A_PASS, Visual, encode_images
from client.slides.fingerprint import fingerprint
from client.slides.slide import Slide, SlideReader, open_slide
from client.slides.tiles import Tile, tissue_tiles


class SlideFeatures:
    """Features of slides for one base. `folder` is a cache of this hospital's own; what it holds never leaves.

    `cache` is that cache, for other features of the same slides.
    """

    def __init__(self, base: Base, folder: Path) -> None:
        self._base = base
        self.cache = FeatureCache(folder)
        self._prints: dict[Path, tuple[tuple[int, int], str]] = {}

    def load(self, slide: Slide) -> Visual:
        """The slide's tokens [1..wsi_max_tokens, width], from the cache where they have been computed before.

        Raises SlideError where the slide can't be read.
        """
        key = self.key(slide, repr(self._base.scales.wsi_mpp))
        if (found := self.cache.get(key)) is None:
            tokens = torch.from_numpy(self._compute(slide)).to(self._base.model.dtype)
            self.cache.put(key, found := Visual(tokens))
        return found.to(self._base.device)

    def key(self, slide: Slide, *what: str) -> str:
        """The cache's name of what the base's encoder makes of this slide: by the file's content, the encoder, its
        precision, and `what` was looked at.
        """
        return feature_key(
            self._print(slide.path), repr(slide.mpp), self._base.hash, str(self._base.model.dtype), *what
        )

    def _print(self, path: Path) -> str:
        """`fingerprint`, taken anew where the file's size or time has changed. Raises SlideError."""
        try:
            status = path.stat()
            now = (status.st_size, status.st_mtime_ns)
            if path not in self._prints or self._prints[path][0] != now:
                self._prints[path] = now, fingerprint(path)
        except OSError:
            raise UnreadableSlideError(path.name) from None
        return self._prints[path][1]

    def _compute(self, slide: Slide) -> np.ndarray:
        scales = self._base.scales
        with open_slide(slide.path, slide.mpp) as reader:
            tiles = tissue_tiles(reader, scales.wsi_mpp, scales.roi_pixels)
            tokens = [
                self._encode(reader, tiles[i : i + IMAGES_A_PASS])
                for i in range(0, len(tiles), IMAGES_A_PASS)
            ]
        return pool(np.concatenate(tokens), tiles, scales.wsi_max_tokens)

    def _encode(self, reader: SlideReader, tiles: Sequence[Tile]) -> np.ndarray:
        scales = self._base.scales
        images = [reader.read(t.x, t.y, t.width, t.height, scales.wsi_mpp) for t in tiles]
        visuals = encode_images(self._base, [self._base.fit(image) for image in images])
        return torch.stack([visual.tokens.float().mean(0) for visual in visuals]).cpu().numpy()


def pool(tokens: np.ndarray, tiles: Sequence[Tile], most: int) -> np.ndarray:
    """Token [tiles, width] of tiles in grid order -> at most `most`: means over k x k cells, the smallest k
    that fits.
    """
    cells = np.array([(tile.y // tile.height, tile.x // tile.width) for tile in tiles])
    factor = 1
    while len(np.unique(cells // factor, axis=0)) > most:
        factor += 1
    if factor == 1:
        return tokens
    _, owner = np.unique(cells // factor, axis=0, return_inverse=True)  # unique sorts by row, then column
    sums = np.zeros((owner.max() + 1, tokens.shape[1]), dtype=np.float64)
    np.add.at(sums, owner.reshape(-1), tokens)
    return (sums / np.bincount(owner.reshape(-1))[:, None]).astype(tokens.dtype)
