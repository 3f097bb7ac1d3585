"""A whole slide as tokens: tissue tiles through the frozen vision tower once, one token a tile, cached on
disk.

Tiles stand in grid order, row by row. Where a slide has more tiles than the base reads tokens, neighbouring
tiles are pooled by the smallest whole factor that makes them fit, so that the slide's geometry is kept.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from client.model.base import Base
from client.model.images import fit
from client.model.visual import IMAGES_A_PASS, Visual, encode_images
from client.slides.slide import Slide, SlideReader, open_slide
from client.slides.tiles import Tile, tissue_tiles

_BLOCK = 1 << 16
_BLOCKS = 64


class SlideFeatures:
    """Features of slides for one base. `cache` is a folder of this hospital's own; what it holds never
    leaves.
    """

    def __init__(self, base: Base, cache: Path) -> None:
        self._base = base
        self._cache = cache
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self, slide: Slide) -> Visual:
        """The slide's tokens [1..wsi_max_tokens, width], from the cache where they have been computed before.

        Raises SlideError where the slide can't be read.
        """
        path = self._cache / f"{self._key(slide)}.npy"
        if path.is_file():
            tokens = np.load(path)
        else:
            tokens = self._compute(slide)
            part = path.with_name(f"{path.stem}.{os.getpid()}.part")
            with part.open("wb") as stream:
                np.save(stream, tokens)
            part.replace(path)
        base = self._base
        return Visual(torch.from_numpy(tokens).to(base.device, base.model.dtype))

    def _key(self, slide: Slide) -> str:
        parts = (fingerprint(slide.path), self._base.hash, repr(self._base.scales.wsi_mpp))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _compute(self, slide: Slide) -> np.ndarray:
        scales = self._base.scales
        with open_slide(slide.path) as reader:
            tiles = tissue_tiles(reader, scales.wsi_mpp, scales.roi_pixels)
            tokens = [
                self._encode(reader, tiles[i : i + IMAGES_A_PASS])
                for i in range(0, len(tiles), IMAGES_A_PASS)
            ]
        return pool(np.concatenate(tokens), tiles, scales.wsi_max_tokens)

    def _encode(self, reader: SlideReader, tiles: Sequence[Tile]) -> np.ndarray:
        scales = self._base.scales
        images = [reader.read(t.x, t.y, t.width, t.height, scales.wsi_mpp) for t in tiles]
        visuals = encode_images(
            self._base, [fit(image, self._base.patches, scales.roi_pixels) for image in images]
        )
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


def fingerprint(path: Path) -> str:
    """sha256 of a slide file's size and of blocks spread evenly over it, its first and last bytes among them.

    A stand-in for the hash of gigabytes: another slide, another export or a longer copy differ; of a file
    of up to 4 MiB it covers every byte.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        last = max(0, size - _BLOCK)
        for start in sorted({last * i // (_BLOCKS - 1) for i in range(_BLOCKS)}):
            stream.seek(start)
            digest.update(stream.read(_BLOCK))
    return digest.hexdigest()
