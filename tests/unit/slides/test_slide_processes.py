"""Readers in threads, forked children and spawned ones."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from client.slides.slide import SlideReader, open_slide
from client.slides.tile_cache import SHARED
from tests.tiled_slides import RGB, Form, texture, write_tiled

WAYS = {"tiles": Form(), "openslide": Form("deflate", RGB)}
SPOTS = [(x, y) for x in range(0, 500, 90) for y in range(0, 500, 110)]


@pytest.fixture(params=WAYS)
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> SlideReader:
    path = write_tiled(tmp_path / "a.tif", texture(600, 600), WAYS[request.param])
    opened = open_slide(path)
    assert opened.way == request.param
    return opened


def sums(reader: SlideReader, spots: list[tuple[int, int]]) -> list[int]:
    return [int(reader.read(x, y, 100, 100, 0.5).astype(np.int64).sum()) for x, y in spots]


def test_threads_read_what_one_reads(reader: SlideReader) -> None:
    """Would catch state that reads share: a scratch tile, OpenSlide's handle, the cache's memory."""
    truth = sums(reader, SPOTS)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: sums(reader, SPOTS), range(12)):
            assert found == truth


def test_a_close_in_the_middle_of_reads_harms_none(reader: SlideReader) -> None:
    """Would catch a descriptor closed under a read, and a handle freed under OpenSlide (a crash)."""
    truth, wrong = sums(reader, SPOTS), []
    reading = threading.Barrier(5)

    def read() -> None:
        reading.wait()
        try:
            for _ in range(50):
                assert sums(reader, SPOTS) == truth
        except AssertionError:
            wrong.append("pixels")
        except ValueError as error:
            if "closed" not in str(error):
                wrong.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    reading.wait()
    reader.close()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_reads_though_a_lock_was_held_at_the_fork(reader: SlideReader) -> None:
    """Would catch a child that waits for ever for a lock of a thread that it does not have: the alarm ends it."""
    truth = sums(reader, SPOTS)
    with SHARED._lock, getattr(reader._pixels, "_lock", threading.Lock()):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                import signal

                signal.alarm(60)
                code = 0 if sums(reader, SPOTS) == truth else 2
            finally:
                os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert sums(reader, SPOTS) == truth


def test_forked_workers_read_at_once_with_the_parent(reader: SlideReader) -> None:
    """Would catch a place in the file that parent and children share, so that each reads where another has
    sought."""
    truth = sums(reader, SPOTS)
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        found = [pool.submit(_inherited_sums) for _ in range(6)] if _inherit(reader) else []
        for _ in range(5):
            assert sums(reader, SPOTS) == truth
        assert all(each.result() == truth for each in found)


_reader: SlideReader | None = None


def _inherit(reader: SlideReader) -> bool:
    global _reader
    _reader = reader
    return True


def _inherited_sums() -> list[int]:
    assert _reader is not None
    return sums(_reader, SPOTS)


def test_spawned_workers_take_readers(tmp_path: Path) -> None:
    """Would catch a reader that can't be handed to a fresh process."""
    path = write_tiled(tmp_path / "a.tif", texture(600, 600), WAYS["tiles"])
    with open_slide(path) as reader:
        truth = sums(reader, SPOTS)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:
            assert workers.submit(sums, reader, SPOTS).result() == truth
