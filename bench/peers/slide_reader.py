"""One reader at one work on one slide, as `bench.slides` has it: `slide_reader.py READER WORK SLIDE`.

For every line on stdin the work is done once, at places of its own that are the same for all readers, and the CPU
seconds are printed (seconds by the clock for works of one or two threads or processes). The work `parity` prints the greatest
difference of any sample from OpenSlide's at level 0 instead.

Every reader gives RGB uint8 [height, width, 3] in numpy, at level 0; what is then scaled is scaled by OpenCV's area
averaging, save ours, which scales itself. Readers that keep tiles are given 32 MiB for them, as OpenSlide has by default.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

Read = Callable[[int, int, int, int], Any]  # x, y, side at level 0, side that it becomes
Place = tuple[int, int, int, int]

CACHE = 32 << 20
# side at level 0, side that it becomes, reads
RANDOM = {
    "random-224": (224, 224, 200),
    "random-512": (512, 512, 80),
    "half-scale": (448, 224, 100),
    "jpeg2000-224": (224, 224, 20),
    "parity": (300, 300, 12),
    "one-thread": (512, 512, 320),
    "two-threads": (512, 512, 320),
    "one-process": (512, 512, 320),
    "two-processes": (512, 512, 320),
}
SCAN = 512


def places(work: str, size: tuple[int, int], turn: int) -> list[Place]:
    """Where the work reads in its `turn`-th time."""
    width, height = size
    if work == "scan":
        return [
            (x, y, SCAN, SCAN)
            for y in range(0, height - SCAN + 1, SCAN)
            for x in range(0, width - SCAN + 1, SCAN)
        ]
    side, becomes, reads = RANDOM[work]
    source = random.Random(f"{work.split('-')[0]} {side} {turn}")
    return [
        (source.randrange(width - side), source.randrange(height - side), side, becomes) for _ in range(reads)
    ]


def scaled(image: np.ndarray, becomes: int) -> np.ndarray:
    """By the mean over the area that each pixel covers."""
    if image.shape[0] == becomes:
        return image
    import cv2

    return cv2.resize(image, (becomes, becomes), interpolation=cv2.INTER_AREA)


def ours(path: Path) -> tuple[Read, tuple[int, int]]:
    """`client.slides`."""
    from client.slides.slide import open_slide
    from client.slides.tile_cache import TileCache

    reader = open_slide(path, cache=TileCache(CACHE))
    assert reader.way == "tiles"
    mpp = reader.slide.mpp

    def read(x: int, y: int, side: int, becomes: int) -> np.ndarray:
        return reader.read(x, y, side, side, mpp * side / becomes)

    return read, (reader.slide.width, reader.slide.height)


def openslide(path: Path) -> tuple[Read, tuple[int, int]]:
    """OpenSlide's `read_region`, to RGB in numpy."""
    import openslide as library

    slide = library.OpenSlide(path)

    def read(x: int, y: int, side: int, becomes: int) -> np.ndarray:
        return scaled(np.asarray(slide.read_region((x, y), 0, (side, side)).convert("RGB")), becomes)

    return read, slide.dimensions


def tiffslide(path: Path) -> tuple[Read, tuple[int, int]]:
    """tiffslide's `read_region` as an array."""
    import tiffslide as library

    slide = library.TiffSlide(path)

    def read(x: int, y: int, side: int, becomes: int) -> np.ndarray:
        return scaled(slide.read_region((x, y), 0, (side, side), as_array=True), becomes)

    return read, slide.dimensions


def pyvips(path: Path) -> tuple[Read, tuple[int, int]]:
    """libvips' TIFF loader, `Region.fetch`."""
    import pyvips as library

    library.cache_set_max(0)  # of operations; a region keeps its own tiles
    image = library.Image.tiffload(str(path), page=0)
    region = library.Region.new(image)

    def read(x: int, y: int, side: int, becomes: int) -> np.ndarray:
        pixels = np.frombuffer(region.fetch(x, y, side, side), np.uint8)
        return scaled(pixels.reshape(side, side, image.bands)[..., :3], becomes)

    return read, (image.width, image.height)


def cucim(path: Path) -> tuple[Read, tuple[int, int]]:
    """cuCIM on the CPU."""
    from cucim import CuImage

    CuImage.cache("per_process", memory_capacity=CACHE >> 20)
    image = CuImage(str(path))

    def read(x: int, y: int, side: int, becomes: int) -> np.ndarray:
        return scaled(np.asarray(image.read_region((x, y), (side, side), 0, num_workers=1)), becomes)

    return read, (image.shape[1], image.shape[0])


def large_image(path: Path) -> tuple[Read, tuple[int, int]]:
    """large_image with OpenSlide as its source."""
    import large_image
    import large_image_source_openslide as library

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    large_image.config.setConfig("cache_backend", "python")
    large_image.config.setConfig("cache_python_memory_portion", memory // CACHE)
    source = library.open(str(path))

    def read(x: int, y: int, side: int, becomes: int) -> np.ndarray:
        region = {"left": x, "top": y, "width": side, "height": side}
        return scaled(
            np.ascontiguousarray(source.getRegion(region=region, format="numpy")[0][..., :3]), becomes
        )

    return read, (source.sizeX, source.sizeY)


READERS = {
    "ours": ours,
    "openslide": openslide,
    "tiffslide": tiffslide,
    "pyvips": pyvips,
    "cucim": cucim,
    "large-image": large_image,
}


def floor(work: str, path: Path) -> Iterator[float]:
    """The decoder alone: seconds in libjpeg-turbo (OpenJPEG) for every tile that each read touches, and in a scan for
    each tile once. The streams are whole and in memory; all decode into one buffer, placed where libjpeg-turbo is fastest."""
    import imagecodecs
    import simplejpeg
    import tifffile

    from client.slides.tile_cache import off_boundary

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        side, size = page.tilewidth, (page.imagewidth, page.imagelength)
        tables, offsets, counts = page.jpegtables, page.dataoffsets, page.databytecounts
    across = -(-size[0] // side)
    data = path.read_bytes()
    buffer = off_boundary(side, side)
    turn = 0
    while True:
        touched = [
            row * across + column
            for x, y, wide, _ in places(work, size, turn)
            for row in range(y // side, -(-(y + wide) // side))
            for column in range(x // side, -(-(x + wide) // side))
        ]
        needed = sorted(set(touched)) if work == "scan" else touched
        tiles = [data[offsets[number] : offsets[number] + counts[number]] for number in needed]
        if tables:
            tiles = [tables[:-2] + tile[2:] for tile in tiles]
            before = time.process_time()
            for tile in tiles:
                simplejpeg.decode_jpeg(tile, buffer=buffer)
        else:
            before = time.process_time()
            for tile in tiles:
                imagecodecs.jpeg2k_decode(tile, numthreads=1, out=buffer)
        yield time.process_time() - before
        turn += 1


def alone(reader: str, work: str, path: Path) -> Iterator[float]:
    """CPU seconds of the work, time after time; a slide is opened anew for every scan, before it counts."""
    read, size = READERS[reader](path)
    turn = 0
    while True:
        if work == "scan" and turn:
            read, size = READERS[reader](path)
        wanted = places(work, size, turn)
        before = time.process_time()
        for place in wanted:
            read(*place)
        yield time.process_time() - before
        turn += 1


def together(reader: str, work: str, path: Path) -> Iterator[float]:
    """Seconds of the work shared out to threads, or to forked processes. The reader `counting` only counts: what two
    processes get of this machine at all."""
    read, size = (counting, (20_000, 20_000)) if reader == "counting" else READERS[reader](path)
    start: Callable[..., Any] = threading.Thread if "thread" in work else get_context("fork").Process
    workers = 2 if work.startswith("two") else 1

    def share(part: list[Place], go: Any) -> None:
        go.wait()
        for place in part:
            read(*place)

    turn = 0
    while True:
        wanted = places(work, size, turn)
        go = get_context("fork").Event()
        hands = [start(target=share, args=(wanted[k::workers], go)) for k in range(workers)]
        for hand in hands:
            hand.start()
        before = time.perf_counter()
        go.set()
        for hand in hands:
            hand.join()
        yield time.perf_counter() - before
        turn += 1


def counting(x: int, y: int, side: int, becomes: int) -> None:
    """About as long as a read, and no memory."""
    for _ in range(100_000):
        pass


def parity(reader: str, path: Path) -> Iterator[float]:
    """The greatest difference from OpenSlide's samples."""
    (read, size), (theirs, _) = READERS[reader](path), openslide(path)
    turn = 0
    while True:
        worst = 0
        for place in places("parity", size, turn):
            worst = max(worst, int(np.abs(read(*place).astype(int) - theirs(*place)).max()))
        yield float(worst)
        turn += 1


def main() -> None:
    """Answer until stdin ends."""
    reader, work, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if reader == "floor":
        figures = floor(work, path)
    elif work == "parity":
        figures = parity(reader, path)
    elif work.startswith(("one-", "two-")):
        figures = together(reader, work, path)
    else:
        figures = alone(reader, work, path)
    for _ in sys.stdin:
        print(next(figures), flush=True)


if __name__ == "__main__":
    main()
