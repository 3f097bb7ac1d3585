"""Many slides, few of them open."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from client.errors import SlideError
from client.slides.pool import ReaderPool
from client.slides.slide import Slide, open_slide
from tests.tiled_slides import RGB, Form, scramble, texture, write_tiled


@pytest.fixture
def slides(tmp_path: Path) -> list[Slide]:
    found = []
    for number in range(12):
        form = Form("lzw", RGB) if number % 4 == 3 else Form()
        path = write_tiled(tmp_path / f"{number}.tif", texture(200, 200, seed=number), form)
        with open_slide(path) as reader:
            found.append(reader.slide)
    return found


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_more_are_open_than_allowed_and_all_are_read(slides: list[Slide]) -> None:
    """Would catch a pool that grows with its slides until the process has no descriptors left, and one slide's pixels
    taken for another's."""
    truth = {}
    for slide in slides:
        with open_slide(slide.path) as reader:
            truth[slide.name] = reader.read(10, 20, 90, 90, 0.5)
    before = descriptors()
    pool = ReaderPool(most_open=4)
    worst = []

    def work(seed: int) -> None:
        source = np.random.default_rng(seed)
        for number in source.integers(0, len(slides), 60):
            slide = slides[number]
            np.testing.assert_array_equal(pool.read(slide, 10, 20, 90, 90, 0.5), truth[slide.name])
            worst.append(pool.open_now)

    with ThreadPoolExecutor(6) as threads:  # more than there are places: some wait
        list(threads.map(work, range(6)))
    assert max(worst) == 4
    assert descriptors() <= before + 4
    pool.close()
    assert pool.open_now == 0
    assert descriptors() == before
    np.testing.assert_array_equal(pool.read(slides[0], 10, 20, 90, 90, 0.5), truth[slides[0].name])


def test_bad_slides_cost_only_their_own_reads(slides: list[Slide]) -> None:
    """Would catch a place that an error takes for good, and an error that another slide's read gets."""
    scramble(slides[0].path, 0, 5)
    slides[1].path.unlink()
    pool = ReaderPool(most_open=1)
    for _ in range(3):
        with pytest.raises(SlideError, match=slides[0].name):
            pool.read(slides[0], 70, 70, 50, 50, 0.5)
        with pytest.raises(SlideError, match=slides[1].name):
            pool.read(slides[1], 0, 0, 50, 50, 0.5)
        assert pool.read(slides[2], 0, 0, 50, 50, 0.5).shape == (50, 50, 3)


def test_a_slide_that_hangs_holds_up_nobody_else(tmp_path: Path, slides: list[Slide]) -> None:
    """Would catch a lock that is held while a slow mount opens a file: a pipe that nobody writes to opens for ever."""
    pipe = tmp_path / "slow.svs"
    os.mkfifo(pipe)
    stuck = Slide("slow.svs", pipe, 0.5, 100, 100, (1.0,))
    pool = ReaderPool(most_open=2)
    ended = threading.Event()

    def hang() -> None:
        with pytest.raises(SlideError):
            pool.read(stuck, 0, 0, 10, 10, 0.5)
        ended.set()

    thread = threading.Thread(target=hang)
    thread.start()
    for slide in slides:
        assert pool.read(slide, 0, 0, 50, 50, 0.5).shape == (50, 50, 3)
    writer = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # lets the opening go on, to its end of file
    os.write(writer, b"no slide")
    os.close(writer)
    thread.join(60)
    assert ended.is_set()


def test_a_pool_for_nothing_is_refused() -> None:
    """Would catch a wait without end."""
    with pytest.raises(ValueError, match="room"):
        ReaderPool(most_open=0)
