"""Files that change, are replaced or vanish under a reader: a named error, never pixels of two files."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from client.errors import ChangedSlideError, SlideError
from client.slides.slide import open_slide
from tests.tiled_slides import RGB, Form, texture, write_tiled

WAYS = {"tiles": Form(), "openslide": Form("lzw", RGB)}


def _touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _overwritten(path: Path) -> None:
    """In place, the same inode and the same size."""
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10))


def _rewritten_with_its_old_time(path: Path) -> None:
    """In place, the same inode, size and time of writing: as some tools restore a file."""
    status = path.stat()
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replaced(path: Path) -> None:
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def _grown(path: Path) -> None:
    status = path.stat()
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _vanished(path: Path) -> None:
    path.unlink()


CHANGES: dict[str, Callable[[Path], None]] = {
    "touched": _touched,
    "overwritten": _overwritten,
    "rewritten-with-its-old-time": _rewritten_with_its_old_time,
    "replaced": _replaced,
    "grown": _grown,
    "cut": _cut,
    "vanished": _vanished,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_the_next_read(tmp_path: Path, way: str, change: str) -> None:
    """Would catch pixels of a file that is no longer the one that was opened, from the cache, the descriptor or
    OpenSlide, which opens the file again at every read."""
    path = write_tiled(tmp_path / "a.tif", texture(300, 300), WAYS[way])
    with open_slide(path) as reader:
        assert reader.way == way
        reader.read(0, 0, 64, 64, 0.5)
        kept = pickle.dumps(reader)
        CHANGES[change](path)
        for x in (0, 150):
            with pytest.raises(ChangedSlideError) as caught:
                reader.read(x, x, 64, 64, 0.5)
            assert caught.value.reason == "changed"
            assert str(tmp_path) not in str(caught.value)
        with pytest.raises(ChangedSlideError):
            reader.probe()
    with pytest.raises(ChangedSlideError):
        pickle.loads(kept)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_rewritten_during_reads_gives_the_old_pixels_or_an_error(tmp_path: Path, way: str) -> None:
    """Would catch a mix: a state looked at before the bytes are read and not after."""
    old, new = np.full((300, 300, 3), 40, np.uint8), np.full((300, 300, 3), 200, np.uint8)
    path = write_tiled(tmp_path / "a.tif", old, WAYS[way])
    other = write_tiled(tmp_path / "b.tif", new, WAYS[way]).read_bytes()
    with open_slide(path) as reader:
        truth = reader.read(0, 0, 300, 300, 0.5)
        started = threading.Event()

        def rewrite() -> None:
            started.wait()
            with path.open("r+b") as file:
                file.write(other)
            os.utime(path, ns=(1, 1))

        writer = threading.Thread(target=rewrite)
        writer.start()
        for turn in range(200):
            if turn == 3:
                started.set()
            try:
                np.testing.assert_array_equal(reader.read(0, 0, 300, 300, 0.5), truth)
            except SlideError as error:
                assert isinstance(error, ChangedSlideError)  # noqa: PT017 - which error, not whether
                break
        writer.join()
        with pytest.raises(ChangedSlideError):
            reader.read(0, 0, 300, 300, 0.5)


def test_the_same_file_pickles_to_a_reader_of_the_same_pixels(tmp_path: Path) -> None:
    """Would catch a reader that arrives with another scale, or looks through the whole file again."""
    for way, form in WAYS.items():
        path = write_tiled(tmp_path / f"{way}.tif", texture(300, 300), form)
        with open_slide(path, 0.25) as reader, pickle.loads(pickle.dumps(reader)) as again:
            assert (again.slide, again.way) == (reader.slide, way)
            np.testing.assert_array_equal(
                again.read(30, 40, 100, 100, 0.5), reader.read(30, 40, 100, 100, 0.5)
            )
