"""Which slide a source means, and whose it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from client.imports.found import ImportProblem, ImportSourceError
from client.imports.table import read_table
from client.slides.files import SUFFIXES
from client.slides.index import SlideIndex
from client.slides.names import FileNames
from client.slides.slide import Slide

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_LABELS = (".json", ".geojson", ".zip")
_KNOWN = (".ome.tif", ".ome.tiff", *sorted(SUFFIXES), *_IMAGES, *_LABELS)  # longer ones first


@dataclass(frozen=True)
class SlideNames:
    """The slides of an index, by the names that sources of labels give them."""

    index: SlideIndex

    @property
    def slides(self) -> Mapping[str, Slide]:
        """Those that can serve, by their path inside the slide folder."""
        return self.index.slides

    def find(self, name: str) -> Slide | str:
        """The slide that is meant, or why there is none.

        It is the one of this path or file name; if there is none, the one of this name without the slide's suffix; if
        there is none either, the same is asked again of the name less a suffix of a slide, an image or a file of labels.
        No other dot ends a name: "C7.2" is not "C7". Folders count where the slide folder has them too. A name that is
        written as in a URL is read so where it means nothing as it stands. What two slides bear is nobody's.
        """
        path = name.replace("\\", "/")
        meant = self._meant(path) or self._meant(unquote(path))
        found = tuple(dict.fromkeys(self.index.parts.get(slide, slide) for slide in meant))
        if not found:
            return f"there is no slide {path.rpartition('/')[2]!r}"
        if len(found) > 1:
            return f"{path.rpartition('/')[2]!r} may be any of {', '.join(sorted(found))}"
        if found[0] in self.index.skipped:
            return f"slide {found[0]!r} can't serve: {self.index.skipped[found[0]].what}"
        return self.slides[found[0]]

    def _meant(self, path: str) -> tuple[str, ...]:
        shorter = self._inside(path)
        while shorter:
            name, shorter = shorter, _less_suffix(shorter)
            stems = self._stems.find(name)
            if found := self._names.find(name) or tuple(s for stem in stems for s in self._of_stem[stem]):
                return found
        return ()

    def _inside(self, path: str) -> str:
        """The path from the slide folder on where its folders are known, else the file's name alone."""
        *folders, file = path.rsplit("/", self._depth + 1)
        folders = folders[-self._depth :] if self._depth else []
        tails = ("/".join(folders[k:]) for k in range(len(folders)))
        known = next((tail for tail in tails if unicodedata.normalize("NFC", tail) in self._folders), None)
        return f"{known}/{file}" if known else file

    @cached_property
    def _all(self) -> tuple[str, ...]:
        return (*self.index.slides, *self.index.skipped, *self.index.parts)

    @cached_property
    def _names(self) -> FileNames:
        return FileNames(self._all)

    @cached_property
    def _of_stem(self) -> Mapping[str, tuple[str, ...]]:
        stems: dict[str, tuple[str, ...]] = {}
        for slide in self._all:
            stem = _less_suffix(slide) or slide
            stems[stem] = (*stems.get(stem, ()), slide)
        return stems

    @cached_property
    def _stems(self) -> FileNames:
        return FileNames(self._of_stem)

    @cached_property
    def _folders(self) -> frozenset[str]:
        """Those that slides lie in."""
        folders = {slide.rpartition("/")[0] for slide in self._all} - {""}
        return frozenset(unicodedata.normalize("NFC", folder) for folder in folders)

    @cached_property
    def _depth(self) -> int:
        return max((folder.count("/") + 1 for folder in self._folders), default=0)


def _less_suffix(name: str) -> str:
    """The name without one known suffix; "" where it has none."""
    lower = name.lower()
    suffix = next((known for known in _KNOWN if lower.endswith(known)), name)
    return name[: len(name) - len(suffix)]


class Patients:
    """Whose slide it is: by a table, or by a part of the slide's name. It is never guessed."""

    def __init__(self, table: Mapping[str, str] | None, pattern: re.Pattern[str] | None) -> None:
        self._table, self._pattern = table, pattern

    def of(self, slide: str) -> str | None:
        """The patient's key, or None where neither table nor pattern gives one."""
        if self._table is not None:
            return self._table.get(slide)
        match = self._pattern.search(slide) if self._pattern else None
        return (match[1] or None) if match else None


def patients_by_pattern(pattern: str) -> Patients:
    """The first group of a regular expression that is searched for in the slide's path inside the slide folder.

    Raises ImportSourceError for a pattern that is none or has no group.
    """
    advice = "write a regular expression with one group, such as ^([^-]+)-"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ImportSourceError([ImportProblem("the patient pattern", str(error), advice)]) from None
    if compiled.groups < 1:
        raise ImportSourceError([ImportProblem("the patient pattern", "it has no group", advice)])
    return Patients(None, compiled)


def patients_by_table(path: Path, slides: SlideNames) -> Patients:
    """A CSV with the columns slide and patient; it may name slides that are not there. Raises ImportSourceError with
    every bad row."""
    table: dict[str, str] = {}
    problems: list[ImportProblem] = []
    for where, row in read_table(path, ("slide", "patient")):
        found = slides.find(row["slide"])
        if not row["patient"]:
            problems.append(ImportProblem(where, "the patient is empty", "name them"))
        elif isinstance(found, Slide) and table.setdefault(found.name, row["patient"]) != row["patient"]:
            what = f"slide {found.name!r} has another patient above"
            problems.append(ImportProblem(where, what, "a slide has one patient: keep the right row"))
    if problems:
        raise ImportSourceError(problems)
    return Patients(table, None)
