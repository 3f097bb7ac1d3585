"""A checked release that lies on disk, read by rows: however many there are, none need be in memory whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.payload import Shape
from privacy.quantise import dequantise
from privacy.release import PAYLOAD, Header, Release

_LENGTH = 8  # of the number, little-endian, by which safetensors begins: its header's length
_LEVEL, _SCALE = np.dtype("i1"), np.dtype("<f4")


@dataclass(frozen=True)
class ReleaseFile:
    """The bytes of one release at `path`, which `check` has accepted and nobody has changed since.

    `offsets` tells where each part's bytes lie, from `begin` on. Made by `keep_release`.
    """

    path: Path
    header: Header
    begin: int
    offsets: Mapping[str, int]

    @property
    def hospital(self) -> str:
        """Who released it."""
        return self.header.hospital

    @property
    def expert(self) -> str:
        """Which expert's change it is."""
        return self.header.expert

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Of the expert's tensors."""
        return self.header.shapes

    @property
    def noise_variance(self) -> float:
        """Of the noise in each coordinate of one step's mean gradient, as the release states it."""
        return self.header.noise_variance

    def rows(self, tensor: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows `start` to `stop` of a tensor's change, flat, bit for bit as `check` gave them.

        A row is what one index of the first axis holds; a scalar is one row.
        """
        shape = self.header.shapes[tensor] or (1,)
        across = math.prod(shape[1:])
        by_row = len(shape) == 2 and shape[0] <= shape[1]  # as `privacy.quantise` scales
        first, scales = (start, stop - start) if by_row else (0, shape[1] if len(shape) == 2 else 1)
        file = os.open(self.path, os.O_RDONLY)
        try:
            levels = self._read(file, f"q/{tensor}", start * across, (stop - start) * across, _LEVEL)
            each = self._read(file, f"s/{tensor}", first, scales, _SCALE)
        finally:
            os.close(file)
        each = each[:, None] if by_row else each[None, :]
        return dequantise(levels.reshape(stop - start, across), each).reshape(-1)

    def _read(self, file: int, part: str, first: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        size = dtype.itemsize
        data = os.pread(file, count * size, self.begin + self.offsets[part] + first * size)
        return np.frombuffer(data, dtype, count)


def keep_release(path: Path, release: Release, like: ReleaseFile | None = None) -> ReleaseFile:
    """The release whose checked bytes lie at `path`; its tensors need not stay in memory.

    With `like`, a release of the same tensors, it shares their tables, so that many releases take little memory.
    """
    with path.open("rb") as file:
        file.seek(PAYLOAD)
        length = int.from_bytes(file.read(_LENGTH), "little")
        parts: dict[str, Any] = json.loads(file.read(length))
    offsets: Mapping[str, int] = MappingProxyType(
        {name: part["data_offsets"][0] for name, part in parts.items() if name != "__metadata__"}
    )
    header = Header(**{field.name: getattr(release, field.name) for field in fields(Header)})
    if like is not None and (like.offsets, like.shapes) == (offsets, header.shapes):
        offsets, header = like.offsets, replace(header, shapes=like.shapes)
    return ReleaseFile(path, header, PAYLOAD + _LENGTH + length, offsets)
