"""The feature pass of a drawn slide: reading ahead of the tower beside reading, then computing, batch after batch.

    python -m bench.features [--quick] [--json]

The embedded base on this machine's device, all cores. Floors are the same tiles read, and the same pictures encoded,
with nothing else going on. Ratios are above 1 where reading ahead is better: of wall-clock time, over each way's best
repeat, since other work on the machine only ever adds; and of CPU seconds, the median over interleaved repeats. Both ways
give the same features, which is checked.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import command
from client.model.base import Base
from client.model.slide_features import SlideFeatures
from client.model.visual import IMAGES_A_PASS, encode_images
from client.slides.slide import Slide, open_slide
from client.slides.tiles import grid_over, tissue_cells
from client.slides.tissue_map import tissue_map
from demo.organs import public_organ, public_stain
from demo.slide_writer import Identifiers, write_slide
from demo.tissue import FIELD, KINDS, colour, draw

EMBEDDED = Path(__file__).parents[1] / "client" / "model" / "embedded"
REPEATS = 5


def drawn_slide(path: Path, blocks: int) -> Slide:
    """`blocks` x `blocks` pieces of drawn tissue of 0.9 mm, as scanned at 0.25 microns a pixel."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, len(KINDS), (7, 7)).astype(np.uint8)
    piece = colour(draw(kinds, public_organ(rng), rng), public_stain(rng), rng)[: 7 * FIELD, : 7 * FIELD]
    write_slide(path, np.tile(piece, (blocks, blocks, 1)), 0.25, Identifiers("-", "-", "-"))
    with open_slide(path) as reader:
        return reader.slide


def one_after_another(base: Base, slide: Slide) -> Tensor:
    """Each batch is read, and then encoded: what the pass would be without reading ahead."""
    scales, tokens = base.scales, []
    with open_slide(slide.path) as reader:
        grid = grid_over(slide, scales.wsi_mpp, scales.roi_pixels)
        tiles = grid.tiles(tissue_cells(tissue_map(reader), grid))
        for start in range(0, len(tiles), IMAGES_A_PASS):
            batch = tiles[start : start + IMAGES_A_PASS]
            pictures = [base.fit(reader.read(t.x, t.y, t.width, t.height, scales.wsi_mpp)) for t in batch]
            tokens += [visual.tokens.float().mean(0) for visual in encode_images(base, pictures)]
    return torch.stack(tokens).to(base.model.dtype).cpu()


def measure(*, quick: bool) -> dict[str, object]:
    """All figures."""
    base = Base.load(EMBEDDED, "cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as place:
        slide = drawn_slide(Path(place) / "a.svs", 1 if quick else 3)
        names = ("one after another", "reading ahead", "tower alone")
        seconds: dict[str, list[float]] = {name: [] for name in names}
        cpu: dict[str, list[float]] = {name: [] for name in names}
        with open_slide(slide.path) as reader:
            start = time.perf_counter()
            grid = grid_over(slide, base.scales.wsi_mpp, base.scales.roi_pixels)
            tiles = grid.tiles(tissue_cells(tissue_map(reader), grid))
            tissue_seconds = time.perf_counter() - start
            start = time.perf_counter()
            pictures = [
                base.fit(reader.read(t.x, t.y, t.width, t.height, base.scales.wsi_mpp)) for t in tiles
            ]
            reading_seconds = time.perf_counter() - start
        for repeat in range(1 if quick else REPEATS):
            ways: dict[str, Callable[[], Tensor]] = {
                "one after another": lambda: one_after_another(base, slide),
                "reading ahead": lambda folder=Path(place) / str(repeat): (
                    SlideFeatures(base, folder).grid(slide).tokens
                ),
                "tower alone": lambda: torch.stack(
                    [visual.tokens.float().mean(0) for visual in encode_images(base, pictures)]
                ),
            }
            found = {}
            for name in names if repeat % 2 else names[::-1]:
                start, start_cpu = time.perf_counter(), time.process_time()
                found[name] = ways[name]()
                seconds[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - start_cpu)
            if not torch.equal(found["one after another"], found["reading ahead"]):
                raise SystemExit("the two ways give different features")
    before, after = "one after another", "reading ahead"
    return {
        "device": str(base.device),
        "threads": torch.get_num_threads(),
        "tiles": len(tiles),
        "tissue_seconds": tissue_seconds,
        "reading_alone_tiles_per_second": len(tiles) / reading_seconds,
        **{f"{name.replace(' ', '_')}_tiles_per_second": len(tiles) / min(seconds[name]) for name in names},
        "ratio_of_best_times": min(seconds[before]) / min(seconds[after]),
        "ratio_of_cpu_seconds": statistics.median(
            a / b for a, b in zip(cpu[before], cpu[after], strict=True)
        ),
    }


def main() -> None:
    """Command line."""
    asked = command.options(__doc__, "a small slide, once: proves that it runs").parse_args()
    found = measure(quick=asked.quick)
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:40} {value:.3f}" if isinstance(value, float) else f"{name:40} {value}")


if __name__ == "__main__":
    main()
