"""Reading ahead: in order, never further than asked, over when its reader is."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from client.errors import SlideError
from client.slides.read_ahead import picture_or_error, read_ahead
from client.slides.slide import open_slide
from client.slides.tissue_map import tissue_map
from tests.aperio import picture, write_slide
from tests.damaged import scramble


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (1, 1), (4, 3), (3, 20)])
def test_pictures_come_in_order_and_no_more_than_asked_lie_ahead(threads: int, ahead: int) -> None:
    """Would catch pictures that overtake each other, and a slide that is read whole into memory."""
    lock, handed = threading.Lock(), 0
    most = 0
    started = 0

    def read(item: int) -> int:
        nonlocal started, most
        with lock:
            started += 1
            most = max(most, started - handed)
        return item * item

    for number, value in enumerate(read_ahead(range(40), read, threads, ahead)):
        assert value == number * number
        with lock:
            handed = number + 1
    assert started == 40
    assert most <= ahead + 1


def test_the_next_is_read_while_this_one_is_worked_on() -> None:
    """Would catch reading that waits for computing: the second read ends while the first picture is in hand."""
    second = threading.Event()

    def read(item: int) -> int:
        if item == 2:
            second.set()
        return item

    with closing(read_ahead(range(5), read, 1, 2)) as pictures:
        assert next(pictures) == 0
        assert second.wait(60)
        assert list(pictures) == [1, 2, 3, 4]


def test_a_failure_shows_at_its_turn_and_an_early_end_reads_no_more() -> None:
    """Would catch a failure that overtakes good pictures, threads that outlive their work, and reads for nobody."""
    read: list[int] = []

    def fail_at_3(item: int) -> int:
        read.append(item)
        if item == 3:
            raise OSError
        return item

    pictures = read_ahead(range(100), fail_at_3, 2, 4)
    assert [next(pictures) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError):  # noqa: PT011
        next(pictures)
    assert len(read) <= 8
    early = read_ahead(range(100), read.append, 2, 4)
    next(early)
    before = len(read)
    early.close()
    assert len(read) <= before + 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_after_a_bad_picture_the_good_ones_come(tmp_path: Path) -> None:
    """Would catch a corrupt tile that costs all that is read after it."""
    path = write_slide(tmp_path / "a.svs", picture(512, 256))
    with open_slide(path) as reader:
        expected = reader.read(256, 0, 64, 64, 0.5)
    scramble(path, 0, 0)
    with open_slide(path) as reader:
        assert isinstance(picture_or_error(reader, 0, 0, 64, 64, 0.5), SlideError)
        good = picture_or_error(reader, 256, 0, 64, 64, 0.5)
    assert np.array_equal(good, expected)


def test_a_slide_that_is_gone_is_no_bad_picture(tmp_path: Path) -> None:
    """Would catch a vanished slide that is told as thousands of bad tiles."""
    path = write_slide(tmp_path / "a.svs", picture(512, 256))
    scramble(path, 0, 0)
    with open_slide(path) as reader:
        path.unlink()
        with pytest.raises(SlideError):
            picture_or_error(reader, 0, 0, 64, 64, 0.5)


def test_what_an_overview_can_not_read_counts_as_tissue(tmp_path: Path) -> None:
    """Would catch one corrupt tile that hides all tissue of a slide, or its own."""
    image = np.full((4096, 4096, 3), (244, 243, 245), np.uint8)
    image[2048:3072, 512:2048] = (214, 140, 190)
    path = write_slide(tmp_path / "a.svs", image, mpp=1.0, downsamples=())
    with open_slide(path) as reader:
        whole = tissue_map(reader)
    scramble(path, 0, 64 * 2 + 60)  # of the top right: glass
    with open_slide(path) as reader:
        damaged = tissue_map(reader)
    more = damaged.overview.tissue & ~whole.overview.tissue
    assert not (whole.overview.tissue & ~damaged.overview.tissue).any()
    assert 0 < more.mean() < 0.05
    assert more[:64, 448:].any()
