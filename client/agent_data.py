"""The patients' slides and questions, as a running agent holds them: what can be drawn from grows less as it goes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from client.data import open_data
from client.errors import SlideError
from client.home import Home
from client.model.base import Base
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.opening import told
from client.slides.index import Looking
from client.tasks.sample import Sample, without_slide
from client.tasks.segmenter import use_segmenter
from client.withdrawn import read_withdrawn, staying

_LOG = logging.getLogger("fedpath.agent")

_T = TypeVar("_T")


class AgentData:
    """Slides and manifest, opened as the policy in force has them read.

    `empty` says that there was nothing when they were opened, for good: who withdraws later, or can't be read any more,
    must not show.
    """

    samples: tuple[Sample, ...]
    empty: bool
    set_aside: int  # bytes of the device's memory that a segmenter takes

    def __init__(self, home: Home, base: Base, skip_bad_rows: bool) -> None:
        self._home, self._base = home, base
        self._open(skip_bad_rows)

    def follow(self, skip_bad_rows: bool) -> None:
        """Read all of it anew, where bad rows are to be taken otherwise than before. Raises `ClientError`, `PolicyError`."""
        if skip_bad_rows != self._skip_bad_rows:
            self._open(skip_bad_rows)

    def _open(self, skip_bad_rows: bool) -> None:
        data = open_data(self._home, Looking(tell=told()), self._base.architecture.image_token)
        self.index, self.manifest = data.index, data.manifest
        self.samples = data.manifest.samples
        self.empty = not self.samples
        self.set_aside = use_segmenter(
            self._home.settings.segmenter, self.index.slides, self._base.device.type
        )
        self.inputs = InputLoader(self.index.slides, SlideFeatures(self._base, self._home.features))
        self._skip_bad_rows = skip_bad_rows

    def leave_out_withdrawn(self) -> int:
        """From now on nothing is drawn from a patient who has withdrawn; how many those are."""
        withdrawn = read_withdrawn(self._home.withdrawn)
        self.samples = staying(self.samples, withdrawn)
        return len(withdrawn)

    def while_readable(self, work: Callable[[], _T], skip: Callable[[str, str], None]) -> _T:
        """Do the work; a slide that can't be read any more is skipped, and the work taken up again without it. `skip` is told
        the slide's name and the reason.
        """
        while True:
            try:
                return work()
            except SlideError as error:
                key = self.index.keys.get(error.name, "?")  # a file's name may be a person's: not in a log
                _LOG.warning("slide %s is skipped from now on: %s", key, error.reason)
                self.samples = without_slide(self.samples, error)
                skip(error.name, error.reason)
