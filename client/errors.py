"""Errors of the hospital's side.

They may name files, rows and patients, so they stay inside the hospital: what crosses to the coordinator is a
code (`privacy.codes`), never one of these messages.

    ClientError
    +-- HomeError             a hospital's home that is not set up, or not as it should be
    +-- SlideError            a slide that can't serve; `.reason` is one word of a closed set
    |   +-- EmptySlideError, UnreadableSlideError, TruncatedSlideError, NoLevelsError
    |   +-- MissingMppError
    |   |   +-- AbsurdMppError
    |   +-- DamagedRegionError, ChangedSlideError
    |   +-- OtherDicomError, UnsupportedDicomError
    +-- SlideFolderError      the folder of slides can't be listed
    +-- AnswerError           an answer that no task could have
    +-- SampleError           a question that the method does not know
    +-- ManifestError         every problem of a manifest file, by row and column
    +-- DeviceMemoryError     a round that the device's memory does not hold (client/training/memory.py)
"""

from __future__ import annotations

from collections.abc import Sequence
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
    advice = "export it again with its resolution; the scale is never guessed"


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
    """The folder of slides can't be listed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"slide folder {folder}: it can't be listed; name a folder that this user may read")


class AnswerError(ClientError, ValueError):
    """An answer that breaks its own rules: an inverted box, a coordinate off the frame, an empty label."""


class SampleError(ClientError, ValueError):
    """A question that the method does not know: a wrong task, scale or kind of answer."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a manifest: `row` counts as a spreadsheet does (the header is row 1)."""

    row: int
    column: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column}: {self.what}; {self.advice}"


class ManifestError(ClientError):
    """A manifest that can't be used; `.problems` holds all that was found, the message the first twenty."""

    SHOWN: ClassVar[int] = 20

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        lines = [f"manifest {file}: nothing was read, {len(problems)} problem(s):"]
        lines += [f"  {problem}" for problem in problems[: self.SHOWN]]
        if len(problems) > self.SHOWN:
            lines.append(f"  and {len(problems) - self.SHOWN} more")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)
