"""Errors of the hospital's side.

They may name files, rows and patients, so they stay inside the hospital: what crosses to the coordinator is a
code (`privacy.codes`), never one of these messages.

    ClientError
    +-- HomeError             a hospital's home that is not set up, or not as it should be
    +-- SlideError            a slide that can't serve; `.reason` is one word of a closed set
    |   +-- EmptySlideError, UnreadableSlideError, TruncatedSlideError, NoLevelsError, HugeTileError
    |   +-- MissingMppError
    |   |   +-- AbsurdMppError
    |   +-- DamagedRegionError, ChangedSlideError
    |   +-- OtherDicomError, UnsupportedDicomError
    |   +-- OutsideSlideError, OddNameError, VanishedSlideError, CrashingSlideError, SlowSlideError
    +-- SlideFolderError      the folder of slides can't be listed, or holds nothing any more
    +-- ScalesError           every problem of mpp.csv, by row
    +-- AnswerError           an answer that no task could have
    +-- SampleError           a question that the method does not know
    +-- ManifestError         every problem of a manifest file, by row and column
    |   +-- ManifestFileError     the file itself: it is missing, a folder, or no table
    +-- DeviceMemoryError     a round that the device's memory does not hold (client/training/memory.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


class ClientError(Exception):
    """Anything wrong at the hospital that has a remedy; the message says what, where and what to do."""


class HomeError(ClientError):
    """A home folder that is missing, unfinished, or contradicts itself; the message names file and remedy."""


class SlideError(ClientError):
    """A slide that can't serve. It is skipped, counted and listed; the round goes on without it.

    The message holds the slide's file name and never what stands inside the file: readers' own error texts,
    scanner numbers and label texts may identify a patient.
    """

    reason: ClassVar[str]
    what: ClassVar[str]
    advice: ClassVar[str]

    def __init__(self, name: str) -> None:
        super().__init__(f"slide {name}: {self.what}; {self.advice}")
        self.name = name

    def about(self, name: str) -> SlideError:
        """The same error, of the slide of this name: a reader knows a file's name only, an index its place."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        SlideError.__init__(other, name)
        return other


class EmptySlideError(SlideError):
    """The file holds no bytes."""

    reason = "empty"
    what = "the file holds no bytes"
    advice = "copy it again from the scanner or the archive"


class UnreadableSlideError(SlideError):
    """The file is absent, not a slide, or of a kind that OpenSlide does not read."""

    reason = "unreadable"
    what = "OpenSlide can't read it"
    advice = "check that it is a whole slide image of a supported format and that this user may read it"


class TruncatedSlideError(SlideError):
    """The file ends before the image data that its own directory promises."""

    reason = "truncated"
    what = "the file ends before its own image data does"
    advice = "the copy was cut short: copy it again and compare the sizes"


class MissingMppError(SlideError):
    """The file does not state a usable size of its pixels, so no physical scale can be cut from it."""

    reason = "no-mpp"
    what = "it states no usable pixel size (microns per pixel)"
    advice = "export it again with its resolution, or state it in mpp.csv; it is never guessed"


class OutsideSlideError(SlideError):
    """A link, or a file that the slide is made of, that leads out of the slide folder."""

    reason = "outside"
    what = "it leads out of the slide folder"
    advice = "put the file itself into the slide folder, or mount the folder that it lies in"


class OddNameError(SlideError):
    """The file's name is no text, so no manifest can name it."""

    reason = "odd-name"
    what = "its name is not UTF-8"
    advice = "rename it"


class VanishedSlideError(SlideError):
    """The catalogue knows the slide, and its file is not there any more."""

    reason = "gone"
    what = "it was in the slide folder and is not there any more"
    advice = "bring it back, or take its rows out of the manifest"


class CrashingSlideError(SlideError):
    """The process that looked at the slide died of it, twice."""

    reason = "crashes"
    what = "the process that read it died"
    advice = "copy or export it again, then run `fedpath-hospital index` again"


class SlowSlideError(SlideError):
    """The slide was not read in the time that a slide is given: its decoder hangs, or its storage does."""

    reason = "slow"
    what = "it was not read in the time that a slide is given"
    advice = "see that its storage answers, then run `fedpath-hospital index` again"


def slide_error(reason: str, name: str) -> SlideError:
    """The error that has this reason; of a reason that nobody knows, that the slide can't be read."""
    kinds = {kind.reason: kind for kind in _below(SlideError)}
    return kinds.get(reason, UnreadableSlideError)(name)


def _below(kind: type[SlideError]) -> Iterator[type[SlideError]]:
    for sub in kind.__subclasses__():
        if hasattr(sub, "reason"):
            yield sub
        yield from _below(sub)


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """Errors of a slide that is read in this block bear the name that the index gives it."""
    try:
        yield
    except SlideError as error:
        raise error.about(name) from None


class AbsurdMppError(MissingMppError):
    """A pixel size, stated by the file or by a person, that no slide has; as unusable as none."""

    reason = "absurd-mpp"
    what = "its stated pixel size is not that of a slide (0.01 to 100 microns, the same in both directions)"
    advice = "find out its true pixel size and state that, or export it again; the scale is never guessed"


class NoLevelsError(SlideError):
    """A file that opens but holds no level of any size."""

    reason = "no-levels"
    what = "it holds no image of tissue, or one of no size"
    advice = "check that it is the slide itself and not its label or a cover file, and export it again"


class HugeTileError(SlideError):
    """Tiles so large that to decode one takes more memory than all of a slide may."""

    reason = "huge-tiles"
    what = "one of its tiles takes more than 256 MiB of memory"
    advice = "export it again with tiles of 256 to 4096 pixels a side"


class DamagedRegionError(SlideError):
    """Image data somewhere inside the slide can't be decoded; other regions may be whole."""

    reason = "damaged"
    what = "the image data of a region can't be decoded"
    advice = (
        "copy the file again and compare checksums; if the original is damaged too, have it scanned again"
    )


class ChangedSlideError(SlideError):
    """The file is no longer the one that was opened, so nothing more is read from it."""

    reason = "changed"
    what = "the file was changed, replaced or removed while it was in use"
    advice = "let whatever writes it finish, and start again"


class OtherDicomError(SlideError):
    """A DICOM file of another kind: a CT, a report, a photograph."""

    reason = "dicom-other"
    what = "it is a DICOM file, but not a whole slide image (VL Whole Slide Microscopy Image Storage)"
    advice = "leave it out of the folder of slides"


class UnsupportedDicomError(SlideError):
    """A DICOM whole slide image in a form that OpenSlide does not read."""

    reason = "dicom-unsupported"
    what = "it is a DICOM slide in a form that can't be read here, or incomplete"
    advice = (
        "keep all files of its series in one folder, with the levels' tiles whole; export it again as JPEG or JPEG 2000"
        " tiles, full and not sparse, or as SVS or pyramidal TIFF"
    )


class SlideFolderError(ClientError):
    """The folder of slides can't be listed, or holds none of the slides that were there."""

    def __init__(
        self, folder: Path, what: str = "it can't be listed; name a folder that this user may read"
    ) -> None:
        super().__init__(f"slide folder {folder}: {what}")


class ScalesError(ClientError):
    """A file of pixel sizes that can't be used; the message holds every problem, by row."""


class AnswerError(ClientError, ValueError):
    """An answer that breaks its own rules: an inverted box, a coordinate off the frame, an empty label."""


class SampleError(ClientError, ValueError):
    """A question that the method does not know: a wrong task, scale or kind of answer."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a manifest: `row` counts as a spreadsheet does (the header is row 1), `line` as an editor,
    and is stated where it is another number: cells may hold line ends.

    It quotes cells, for whoever mends the file, and never a patient's key.
    """

    row: int
    column: str
    what: str
    advice: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.where}, column {self.column}: {self.what}; {self.advice}"

    @property
    def where(self) -> str:
        """The row, and its line where that differs."""
        return f"row {self.row}" if self.line in (None, self.row) else f"row {self.row} (line {self.line})"


class ManifestError(ClientError):
    """A manifest that can't be used; `.problems` holds all that was found.

    The message sums them up by kind and quotes no cell, so that it may stand in a log.
    """

    ROWS: ClassVar[int] = 5  # that the message names of each kind

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        rows = len({problem.row for problem in problems})
        lines = [f"manifest {file}: nothing was read, {len(problems)} problem(s) in {rows} row(s):"]
        lines += [f"  {line}" for line in summed_up(problems, self.ROWS)]
        lines.append("`fedpath-hospital check` shows them one by one, and with --json all of them")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


class ManifestFileError(ManifestError):
    """A manifest, or the `patients.csv` beside it, of which no row can be read: no `.problems` name a row."""

    def __init__(self, path: Path, what: str, advice: str) -> None:
        ClientError.__init__(self, f"{path}: {what}; {advice}")
        self.path, self.what, self.advice = path, what, advice
        self.problems = ()

    @classmethod
    def of(cls, path: Path, error: Exception) -> ManifestFileError:
        """What a reader's error says of the file."""
        if isinstance(error, FileNotFoundError):
            return cls(path, "there is no such file", "put it there, or give the path where it is")
        if path.is_dir():
            return cls(path, "it is a folder", "give the path of the file in it")
        if isinstance(error, PermissionError):
            return cls(path, "this user may not read it", "give this user the right to")
        if isinstance(error, UnicodeError):
            return cls(path, "it is not UTF-8", "save it as UTF-8")
        what = "it is no Parquet file, or a damaged one" if path.suffix == ".parquet" else "it can't be read"
        return cls(path, what, "give a .csv in UTF-8 or a .parquet file")


def summed_up(problems: Sequence[Problem], rows: int) -> list[str]:
    """One line for each kind of problem, the most frequent first: its column, its first rows, what to do."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        kinds.setdefault((problem.column, problem.advice), []).append(problem.where.removeprefix("row "))
    found = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    return [
        f"column {column}: {len(where)} (row {', '.join(where[:rows])}{', ...' if len(where) > rows else ''}): {advice}"
        for (column, advice), where in found
    ]
