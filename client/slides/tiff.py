"""Whether a TIFF file ends before the data that its own directories promise.

Most slide formats are TIFF files, and a copy cut short often still opens: its first tiles are all there.
Other formats are none of this module's business.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_PAIRS = ((324, 325), (273, 279))  # tags of the offsets and the byte counts of tiles, of strips
_TAGS = frozenset(tag for pair in _PAIRS for tag in pair)
_LETTERS = {3: "H", 4: "I", 16: "Q"}  # the types in which offsets and counts are written
_MOST_ENTRIES = 1 << 16  # of a directory: more are none of TIFF's, and nobody reads them
_MOST_BYTES = 1 << 28  # of offsets or counts: those of 30 million tiles
_NOTHING = np.empty(0, np.uint64)


class _EarlyEnd(Exception):  # noqa: N818 - a signal inside this module, never an error that anyone sees
    """A directory lies, in whole or in part, past the end of the file."""


@dataclass(frozen=True)
class _Tiff:
    """An open file of `size` bytes. `order` is its byte order, `entries` and `offset` the types of its
    counts."""

    file: BinaryIO
    size: int
    order: str
    entries: str
    offset: str

    def integer(self, at: int, letter: str) -> int:
        (value,) = struct.unpack(self.order + letter, self.read(at, struct.calcsize(letter)))
        return int(value)

    def read(self, at: int, count: int) -> bytes:
        if at + count > self.size:
            raise _EarlyEnd
        self.file.seek(at)
        data = self.file.read(count)
        if len(data) < count:  # it is being cut just now
            raise _EarlyEnd
        return data

    def ends_early(self) -> bool:
        """Whether a tile or a strip of any directory ends past the end of the file. Raises _EarlyEnd."""
        width = struct.calcsize(self.offset)
        seen: set[int] = set()
        directory = self.integer(width, self.offset)
        while directory and directory not in seen:
            seen.add(directory)
            count = self.integer(directory, self.entries)
            if count > _MOST_ENTRIES:
                return False
            first = directory + struct.calcsize(self.entries)
            stride = 4 + 2 * width
            values = self._values(self.read(first, count * stride), first, stride, width)
            for pair in _PAIRS:
                offsets, counts = (values.get(tag, _NOTHING) for tag in pair)
                both = min(len(offsets), len(counts))
                if (offsets[:both] > self.size).any() or (counts[:both] > self.size - offsets[:both]).any():
                    return True
            directory = self.integer(first + count * stride, self.offset)
        return False

    def _values(self, body: bytes, first: int, stride: int, width: int) -> dict[int, NDArray[np.uint64]]:
        """Offsets and byte counts by tag, of the directory whose entries are `body`."""
        values = {}
        for at in range(0, len(body), stride):
            tag, kind = struct.unpack_from(self.order + "HH", body, at)
            if tag in _TAGS and kind in _LETTERS:
                count, place = struct.unpack_from(f"{self.order}2{self.offset}", body, at + 4)
                length = count * struct.calcsize(_LETTERS[kind])
                if length <= _MOST_BYTES:
                    data = self.read(first + at + 4 + width if length <= width else place, length)
                    values[tag] = np.frombuffer(data, self.order + _LETTERS[kind]).astype(np.uint64)
                elif place + length > self.size:
                    raise _EarlyEnd
        return values


def ends_early(path: Path) -> bool:
    """True for a TIFF file whose directories, tiles or strips reach past its end; False for whole and for
    other files.

    Reads the directories only. Raises OSError if the file can't be read.
    """
    with path.open("rb") as file:
        header = file.read(4)
        order = {b"II": "<", b"MM": ">"}.get(header[:2])
        if order is None or len(header) < 4:
            return False
        types = {42: ("H", "I"), 43: ("Q", "Q")}.get(struct.unpack(order + "H", header[2:])[0])
        if types is None:
            return False
        tiff = _Tiff(file, path.stat().st_size, order, *types)
        try:
            return tiff.ends_early()
        except _EarlyEnd:
            return True
