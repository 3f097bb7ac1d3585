"""Which slide a person means: by its path inside the slide folder, or by its file name alone where one slide bears it.

A name that was typed on one system and written on another may be composed differently: "ü" is one letter to Linux and
Windows (NFC), two to a Mac (NFD). Names that differ in nothing else mean the same slide, unless both are there.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class FileNames:
    """All slides of a folder, to be looked up by the names that people write."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._paths: dict[str, list[str]] = {}
        self._files: dict[str, list[str]] = {}
        for name in sorted(self._names):
            path = _composed(name)
            self._paths.setdefault(path, []).append(name)
            self._files.setdefault(path.rpartition("/")[2], []).append(name)

    def find(self, written: str) -> tuple[str, ...]:
        """The slides that may be meant: none, one, or several that can't be told apart.

        The very path, before the path in another composition, before the file name.
        """
        if written in self._names:
            return (written,)
        name = _composed(written)
        return tuple(self._paths.get(name, ()) or self._files.get(name, ()))

    def near(self, written: str) -> tuple[str, ...]:
        """Up to three slides whose file names are spelled nearly so, the nearest first."""
        alike = difflib.get_close_matches(_composed(written).rpartition("/")[2], self._files, n=3)
        return tuple(name for file in alike for name in self._files[file])[:3]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
