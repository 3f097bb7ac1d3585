"""Reading that overlaps computing: threads read a bounded number of pictures ahead of whoever works on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from client.errors import SlideError
from client.slides.slide import SlideReader, open_again

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")


def read_ahead(
    items: Iterable[_Item], read: Callable[[_Item], _Read], threads: int, ahead: int
) -> Generator[_Read, None, None]:
    """`read(item)` of all items, in their order. At most `ahead` are read, or being read, beyond the one that was
    handed out last: so much memory it takes.

    What a `read` raises is raised at its item's turn, and ends it. Whoever stops early closes it
    (`contextlib.closing`): then no further read begins, and those under way are waited for.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
    reads: deque[Future[_Read]] = deque()
    try:
        for item in items:
            reads.append(pool.submit(read, item))
            if len(reads) > ahead:
                yield reads.popleft().result()
        while reads:
            yield reads.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def picture_or_error(
    reader: SlideReader, x: int, y: int, width: int, height: int, mpp: float
) -> NDArray[np.uint8] | SlideError:
    """What `SlideReader.read` gives of a rectangle, or why it alone can't be read.

    One that fails is read again through another opening of the file: some readers give nothing more after a failure.
    Raises SlideError where the slide as a whole can't be opened any more.
    """
    try:
        return reader.read(x, y, width, height, mpp)
    except SlideError:
        with open_again(reader.opened) as again:
            try:
                return again.read(x, y, width, height, mpp)
            except SlideError as error:
                return error
