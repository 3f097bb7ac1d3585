"""All slides of a folder: those that can serve, and those that can't with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.errors import SlideError, SlideFolderError
from client.slides.slide import Slide, open_slide

SUFFIXES = frozenset(
    {".bif", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".tif", ".tiff", ".vms", ".vmu"}
)


@dataclass(frozen=True)
class SlideIndex:
    """Slides by file name, and the error of each slide that was skipped, by file name."""

    slides: Mapping[str, Slide]
    skipped: Mapping[str, SlideError]


def index_slides(folder: Path) -> SlideIndex:
    """Open and probe each slide file that lies in `folder` itself, in order of name; a bad one is skipped,
    never fatal.

    Raises SlideFolderError if `folder` can't be listed.
    """
    slides: dict[str, Slide] = {}
    skipped: dict[str, SlideError] = {}
    for path in _files(folder):
        try:
            with open_slide(path) as reader:
                reader.probe()
                slides[path.name] = reader.slide
        except SlideError as error:
            skipped[path.name] = error
    return SlideIndex(slides, skipped)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(
            path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir()
        )
    except OSError:
        raise SlideFolderError(folder) from None
