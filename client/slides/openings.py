"""Slides that are opened often: each is looked through once, as long as its file stays as it was."""

from __future__ import annotations

from pathlib import Path

from client.errors import ChangedSlideError
from client.slides.slide import Opened, Slide, SlideReader, open_again, open_slide


class Openings:
    """Remembers what each first opening found; no file is held open between two. Safe for threads."""

    def __init__(self) -> None:
        self._found: dict[tuple[Path, float], Opened] = {}

    def open(self, slide: Slide) -> SlideReader:
        """The slide, at its mpp. A file that has changed is looked through anew. Raises SlideError."""
        key = (slide.path, slide.mpp)
        if (before := self._found.get(key)) is not None:
            try:
                return open_again(before)
            except ChangedSlideError:
                pass  # `open_slide` says what it is now
        reader = open_slide(slide.path, slide.mpp)
        self._found[key] = reader.opened
        return reader
