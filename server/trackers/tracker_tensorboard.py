"""TensorBoard as a tracker: a folder of event files for each campaign. Needs the extra `trackers`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from privacy.printable import printable
from server.errors import TrackerError
from server.trackers.tracked import Tracked
from server.trackers.tracker import Missing, NeedsExtra

DEFINITION, HASHES = "definition", "hashes"  # texts: once, and after each round that is told


class TensorBoardTracker:
    """Writes under `folder`. Raises `TrackerError`."""

    def __init__(self, folder: Path) -> None:
        try:
            import_module("tensorboard")
        except ImportError:
            raise NeedsExtra("TensorBoard") from None
        self._parent = folder
        self._folder = folder
        self._texts: set[tuple[str, int]] = set()
        self._missing = Missing(self._held)

    def write(self, told: Tracked) -> int:
        """As `server.trackers.tracker.Tracker` says. Each call that has something to write makes one event file."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._folder = self._parent / f"{told.campaign}-{told.identity[:8]}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            missing = self._missing.of(told)
            last = max((figure.step for figure in told.figures), default=0)
            texts = {(DEFINITION, 0): told.params, (HASHES, last): told.tags}
            new = {key: rows for key, rows in texts.items() if key not in self._texts}
            if not missing and not new:
                return 0
            writer = EventFileWriter(str(self._folder))
            for (name, step), rows in new.items():
                at = told.begun_at.timestamp()
                writer.add_event(Event(step=step, wall_time=at, summary=text_pb(name, _table(rows))))
            for figure in missing:
                value = Summary.Value(tag=figure.name, simple_value=figure.value)
                at = figure.at.timestamp()
                writer.add_event(Event(step=figure.step, wall_time=at, summary=Summary(value=[value])))
            writer.close()
        except OSError as error:
            raise TrackerError(
                f"{self._folder}: {error.strerror}: name a folder that can be written"
            ) from error
        self._missing.written(missing)
        self._texts |= set(new)
        return len(missing)

    def _held(self) -> set[tuple[str, int]]:
        """What the folder's files hold, as far as they are whole; texts are noted beside."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        all_of_it = {"scalars": 0, "tensors": 0}
        found = EventAccumulator(str(self._folder), all_of_it, purge_orphaned_data=False).Reload()
        tags = found.Tags()
        self._texts = {(tag, event.step) for tag in tags["tensors"] for event in found.Tensors(tag)}
        return {(tag, event.step) for tag in tags["scalars"] for event in found.Scalars(tag)}


def _table(rows: Mapping[str, str]) -> str:
    """As Markdown, which TensorBoard shows."""
    cells = (f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())
    return "\n".join(("| key | value |", "|---|---|", *cells))


def _cell(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>|#" else letter for letter in printable(text))
