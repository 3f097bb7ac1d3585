"""Whether a TIFF file ends before the data that its own directories promise.

Most slide formats are TIFF files, and a copy cut short often still opens: its first tiles are all there.
Other formats are none of this module's business.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_PAIRS = ((324, 325), (273, 279))  # tags of the offsets and the byte counts of tiles, of strips
_TAGS = frozenset(tag for pair in _PAIRS for tag in pair)
_LETTERS = {3: "H", 4: "I", 16: "Q"}  # the types in which offsets and counts are written


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

    def integers(self, at: int, letter: str, count: int = 1) -> tuple[int, ...]:
        form = f"{self.order}{count}{letter}"
        return struct.unpack(form, self.read(at, struct.calcsize(form)))

    def read(self, at: int, count: int) -> bytes:
        if at + count > self.size:
            raise _EarlyEnd
        self.file.seek(at)
        return self.file.read(count)

    def data_ends(self) -> Iterator[int]:
        """The byte just after each tile and strip of every directory."""
        width = struct.calcsize(self.offset)
        seen: set[int] = set()
        (directory,) = self.integers(width, self.offset)
        while directory and directory not in seen:
            seen.add(directory)
            (count,) = self.integers(directory, self.entries)
            first = directory + struct.calcsize(self.entries)
            stride = 4 + 2 * width
            values = self._values(self.read(first, count * stride), first, stride, width)
            for offsets, counts in _PAIRS:
                data = zip(values.get(offsets, ()), values.get(counts, ()), strict=False)
                yield from (start + length for start, length in data)
            (directory,) = self.integers(first + count * stride, self.offset)

    def _values(self, body: bytes, first: int, stride: int, width: int) -> dict[int, tuple[int, ...]]:
        """Offsets and byte counts by tag, of the directory whose entries are `body`."""
        values = {}
        for at in range(0, len(body), stride):
            tag, kind = struct.unpack_from(self.order + "HH", body, at)
            if tag in _TAGS and kind in _LETTERS:
                count, place = struct.unpack_from(f"{self.order}2{self.offset}", body, at + 4)
                inline = count * struct.calcsize(_LETTERS[kind]) <= width
                values[tag] = self.integers(
                    first + at + 4 + width if inline else place, _LETTERS[kind], count
                )
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
            return any(end > tiff.size for end in tiff.data_ends())
        except _EarlyEnd:
            return True
