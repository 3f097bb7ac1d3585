"""A slide of 100,000 x 100,000 pixels in 2 GiB: opened, probed, read at random and as an overview, by either way.

The files are small: every tile is one and the same, or none. Each is read in a process of its own, under a limit of the
system's on all memory that it asks for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile

from client.errors import HugeTileError
from client.slides.examine import MEMORY
from client.slides.examiners import COMMAND
from client.slides.slide import open_slide
from tests.tiled_slides import APERIO

SIDE, TILE = 100_000, 1024
READ = """
import resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from client.slides.slide import open_slide
with open_slide(Path(sys.argv[1])) as reader:
    assert reader.way == sys.argv[2], reader.way
    reader.probe()
    slide = reader.slide
    source = np.random.default_rng(0)
    for x, y in source.integers(-300, slide.width, (8, 2)).tolist():
        assert reader.read(x, y, 512, 512, slide.mpp).shape == (512, 512, 3)
        reader.read(x, y, 4000, 4000, 4 * slide.mpp)
    overview = reader.read(0, 0, slide.width, int(sys.argv[3]), 8.0)
    assert overview.shape[:2] == (round(int(sys.argv[3]) * slide.mpp / 8), round(slide.width * slide.mpp / 8))
    print(int(overview[..., 2].min()), int(overview[..., 2].max()))
"""


def write_big(path: Path, *, levels: int, holes: bool, jpeg: bool) -> Path:
    """Pyramid of `levels`, each a quarter of the one before; all tiles share one stream, or only one is there.

    The picture is one colour: so each level is the one before made smaller.
    """
    pixels = np.full((TILE, TILE, 3), (140, 120, 60), np.uint8)
    stream = simplejpeg.encode_jpeg(pixels, 80) if jpeg else zlib.compress(pixels.tobytes())
    coding = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2)}
    if not jpeg:
        coding = {"compression": "deflate", "photometric": "rgb"}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number in range(levels):
            side = SIDE // 4**number
            tiles = (-(-side // TILE)) ** 2
            tiff.write(
                iter([stream] + [b""] * (tiles - 1)),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                **coding,
                subfiletype=0,
                description=APERIO if not number else None,
                metadata=None,
            )
    if not holes:
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            for page in tiff.pages:
                for name in ("TileOffsets", "TileByteCounts"):
                    tag = page.tags[name]
                    tag.overwrite((tag.value[0],) * len(tag.value))
    return path


@pytest.mark.parametrize(
    ("levels", "holes", "jpeg", "rows"),
    [
        pytest.param(4, False, True, SIDE, id="pyramid"),
        pytest.param(4, False, False, SIDE, id="pyramid-by-openslide"),
        pytest.param(1, False, True, SIDE // 32, id="one-level"),
        pytest.param(1, True, True, SIDE // 32, id="one-level-with-holes"),
        pytest.param(1, False, True, SIDE, id="one-level-all-of-it", marks=pytest.mark.nightly),
    ],
)
def test_a_slide_of_ten_gigapixels_is_read_in_two_gibibytes(
    tmp_path: Path, levels: int, holes: bool, jpeg: bool, rows: int
) -> None:
    """Would catch an overview that is read whole at level 0 (30 GB), caches without a bound, an index of tiles that takes
    more than the tiles, and a pyramid that is not used. Of the slides of one level only a thirty-second is overviewed here:
    all of it takes a minute and is nightly work."""
    path = write_big(tmp_path / "big.svs", levels=levels, holes=holes, jpeg=jpeg)
    assert path.stat().st_size < 16 << 20
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), "tiles" if jpeg else "openslide", str(rows)],
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": ""},
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    least, most = map(int, done.stdout.split())
    assert (most == 255) == holes
    assert least < 80  # blue is 60 wherever there is a tile


@pytest.mark.parametrize(("side", "fits"), [(4096, True), (8448, False)])
def test_a_tile_that_breaks_the_budget_of_memory_is_refused_by_name(
    tmp_path: Path, side: int, fits: bool
) -> None:
    """Would catch a file of a few hundred kilobytes whose one tile takes gigabytes to decode."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.zeros((side, side, 3), np.uint8),
        tile=(side, side),
        compression="deflate",
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    if fits:
        open_slide(path).close()
        return
    with pytest.raises(HugeTileError):
        open_slide(path)


def test_what_looks_at_slides_has_bounded_memory() -> None:
    """Would catch an examiner that a hostile slide makes take all of a machine's memory."""
    with subprocess.Popen(
        [*COMMAND, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as examiner:
        assert examiner.stdout is not None
        assert examiner.stdout.readline() == b"{}\n"
        limits = Path(f"/proc/{examiner.pid}/limits").read_text()
        soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max address space"))
        examiner.communicate()
    assert int(soft) <= MEMORY
