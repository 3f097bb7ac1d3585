"""Which slide files lie in a folder and below it, told from their names and their entries in the file system alone.

Nothing is opened but the small index files of Hamamatsu's VMS and VMU, which name the files that a slide is made of.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import (
    OddNameError,
    OutsideSlideError,
    SlideError,
    SlideFolderError,
    UnreadableSlideError,
    told_of,
)

SUFFIXES = frozenset(
    {".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".tif", ".tiff", ".vms", ".vmu"}
)
_INDEX_BYTES = 1 << 16  # of a VMS or VMU index; more is none
_INDEX_LINE = re.compile(r"^[^=\[\]]+=(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class SlideFile:
    """A slide as the file system knows it. `name` is its path inside the slide folder, with slashes.

    `files` are all that it is made of, itself first; `size` is their bytes and `modified` the time of the latest, in
    nanoseconds. `stamp` is another text as soon as one of them is replaced, written, added or removed, whatever time its
    writer gave it; a change of its rights or links alone makes it another too.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    size: int
    modified: int
    stamp: str


@dataclass(frozen=True)
class Listing:
    """What a slide folder holds: slides, names that are refused unopened, and subfolders that can't be listed."""

    files: tuple[SlideFile, ...]
    refused: Mapping[str, SlideError]
    closed: tuple[str, ...]


def list_slides(folder: Path) -> Listing:
    """All slide files of a folder and its subfolders, in the order of their names' code points.

    What begins with a dot is passed over (snapshots, leftovers of other systems), and so is a link to a folder inside.
    Refused by name are links and parts of slides that lead out of the folder, DICOM slides beside such a link, names that
    are no text, and what is no regular file: to open a pipe would wait for ever. Raises SlideFolderError if `folder`
    itself can't be listed.
    """
    walk = _Walk(Path(os.path.realpath(folder)), folder)
    files: dict[str, SlideFile] = {}
    refused: dict[str, SlideError] = {}
    for name, linked in walk.names():
        try:
            with told_of(_shown(name)):
                if (found := walk.slide(name, linked)) is not None:
                    files[name] = found
        except SlideError as error:
            refused[error.name] = error
    in_order = tuple(files[name] for name in sorted(files))
    return Listing(in_order, dict(sorted(refused.items())), tuple(sorted(walk.closed)))


@dataclass
class _Walk:
    """One way through a folder. `root` is where it really lies, `folder` what it was called."""

    root: Path
    folder: Path
    closed: list[str] = field(default_factory=list)
    _dicom: dict[Path, str | None] = field(default_factory=dict)  # folder -> what its files amount to

    def names(self) -> Iterator[tuple[str, bool]]:
        """Slide files and linked folders, as paths inside the folder, and whether each is a link.

        One look at each entry: a slide folder may lie far away.
        """
        waiting = [""]  # folders, and no recursion: nobody bounds how deep they lie in each other
        while waiting:
            inside = waiting.pop()
            try:
                entries = list(os.scandir(self.root / inside))
            except OSError:
                if not inside:
                    raise SlideFolderError(self.folder) from None
                self.closed.append(_shown(inside.removesuffix("/")))
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name, linked = inside + entry.name, entry.is_symlink()
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif os.path.splitext(name)[1].lower() in SUFFIXES or (linked and os.path.isdir(entry)):
                    yield name, linked

    def slide(self, name: str, linked: bool) -> SlideFile | None:
        """The slide of this name; None for a link to a folder inside. Raises SlideError for what is refused."""
        if not _is_text(name):
            raise OddNameError(name)
        path = self.root / name
        try:
            real = self._inside(path) if linked else path
            state = real.stat()
            if stat.S_ISDIR(state.st_mode):
                return None
            states = {real: state} | {part: part.stat() for part in self._parts(path, real)}
            if not all(stat.S_ISREG(state.st_mode) for state in states.values()):
                raise UnreadableSlideError(name)
            stamp = _stamp(states)
            if path.suffix.lower() == ".dcm":
                stamp += self._siblings(path.parent)
        except OSError:
            raise UnreadableSlideError(name) from None
        return SlideFile(
            name=name,
            path=self.folder / name,
            files=tuple(states),
            size=sum(state.st_size for state in states.values()),
            modified=max(state.st_mtime_ns for state in states.values()),
            stamp=stamp,
        )

    def _inside(self, path: Path) -> Path:
        """Where a path really leads. Raises OutsideSlideError where that is not in the folder."""
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.root):
            raise OutsideSlideError(path.name)
        return real

    def _parts(self, path: Path, real: Path) -> list[Path]:
        """The further files that OpenSlide reads for a slide."""
        suffix = path.suffix.lower()
        if suffix == ".mrxs":
            data = path.with_suffix("")
            parts = sorted(data.iterdir()) if data.is_dir() else []
        elif suffix in (".vms", ".vmu") and real.is_file():
            with real.open("rb") as file:
                index = file.read(_INDEX_BYTES).decode("latin-1").replace("\0", "")
            named = {value.strip() for value in _INDEX_LINE.findall(index)}
            parts = [path.parent / value for value in sorted(named - {""})]
        else:
            return []
        return [self._inside(part) for part in parts if part.is_file()]

    def _siblings(self, folder: Path) -> str:
        """What all files of a folder amount to that may be levels of its DICOM slides.

        OpenSlide looks for them in every file there, whatever it is called. Raises OutsideSlideError if one leads out of
        the slide folder.
        """
        if folder not in self._dicom:
            self._dicom[folder] = self._stamp_of_levels(folder)
        if (stamp := self._dicom[folder]) is None:
            raise OutsideSlideError(folder.name)
        return stamp

    def _stamp_of_levels(self, folder: Path) -> str | None:
        """None if a file there leads out of the slide folder."""
        states = {}
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.is_symlink() and not entry.is_dir():
                try:
                    self._inside(path)
                except OutsideSlideError:
                    return None
            if path.suffix.lower() == ".dcm" and path.exists():
                states[path] = path.stat()
        return _stamp(states)


def _stamp(states: Mapping[Path, os.stat_result]) -> str:
    marks = {
        path: f"{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}:{state.st_ino}"
        for path, state in states.items()
    }
    if len(marks) == 1:
        return "".join(marks.values())
    every = "\n".join(f"{os.fsencode(path.name).hex()}:{mark}" for path, mark in marks.items())
    return hashlib.sha256(every.encode()).hexdigest()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    """A name that can be printed and kept, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
