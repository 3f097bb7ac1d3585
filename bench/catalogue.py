"""What it costs to know a hospital's slides, beside opening each of them: `python -m bench.catalogue [--json] [--quick]`.

The same folder, in one run: every slide opened and its corners read, as any start without a catalogue has to; a first
`index` in one process and in all cores; what a start costs with the catalogue that it leaves, when nothing, one slide or
every hundredth has changed; and a look at names, sizes and times alone, which is the floor of any of them. Wall seconds.

Then a manifest of 100,000 rows, one in a hundred of them bad: rows a second and the memory it takes, beside the csv
module's own reader, which judges nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from client.pseudonyms import Pseudonyms
from client.selftest.patients import write_slides
from client.slides.examiners import usable_cores
from client.slides.files import list_slides
from client.slides.index import Looking, SlideIndex, index_slides
from client.slides.slide import Slide, open_slide
from client.tasks.manifest import read_manifest
from client.tasks.manifest_row import COLUMNS
from client.tasks.sample import Region, Sample, Text

SLIDES, ROWS = 10_000, 100_000
ANEW, REPEATS = 100, 3  # every hundredth slide is changed; how often what is quick is timed
SECRET = Pseudonyms(b"\0" * 32)


def write_folder(folder: Path, slides: int) -> None:
    """Small slides in folders of a hundred, all of different content: one is drawn, the others differ in their end."""
    sample = Sample("p", "drawn.tif", Region(0, 0, 9, 9), "vqa", "?", Text("yes"))
    write_slides(folder.parent, [sample])
    drawn = (folder.parent / "drawn.tif").read_bytes()
    for number in range(slides):
        path = folder / f"{number // 100:03}" / f"{number:05}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn + number.to_bytes(4, "big"))


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def open_all(folder: Path) -> None:
    """What there is without a catalogue."""
    for file in list_slides(folder).files:
        with open_slide(file.path) as reader:
            reader.probe()


def slides(folder: Path, count: int) -> dict[str, float]:
    """Seconds of each way over `count` slides."""
    place, catalogue = folder / "slides", folder / "catalogue.db"
    write_folder(place, count)
    files = [file.path for file in list_slides(place).files]

    def start(workers: int) -> SlideIndex:
        return index_slides(place, catalogue, SECRET, looking=Looking(workers=workers))

    def touched(paths: list[Path]) -> float:
        for path in paths:
            os.utime(path)
        return seconds(lambda: start(usable_cores()))

    def median(work: Callable[[], float]) -> float:
        return statistics.median(work() for _ in range(REPEATS))

    found = {"names, sizes and times alone": median(lambda: seconds(lambda: list_slides(place)))}
    found["every slide opened"] = seconds(lambda: open_all(place))
    for workers in dict.fromkeys((1, usable_cores())):
        for file in catalogue.parent.glob("catalogue.db*"):
            file.unlink()
        found[f"first index, {workers} process(es)"] = seconds(lambda workers=workers: start(workers))
    found["a start, nothing changed"] = median(lambda: touched([]))
    found["a start, one slide changed"] = median(lambda: touched(files[:1]))
    found[f"a start, every {ANEW}th changed"] = touched(files[::ANEW])
    return found


def manifest(folder: Path, rows: int) -> dict[str, float]:
    """Seconds and MiB of reading a manifest of so many rows."""
    path = folder / "manifest.csv"
    names = [f"{number:05}.svs" for number in range(rows // 10)]
    known = SlideIndex({name: Slide(name, Path(name), 0.5, 100_000, 80_000, (1.0, 4.0)) for name in names})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for number in range(rows):
            slide = number % len(names)
            row = {
                "patient": f"p{slide}",
                "slide": names[slide],
                "x": 9 * slide % 90_000,
                "y": 7 * slide % 70_000,
            }
            row |= {
                "width": 2000,
                "height": 2000,
                "question": "How many glands are there?",
                "answer": number % 9,
            }
            writer.writerow(row | {"task": "?" if number % 100 == 50 else "vqa"})

    def plain() -> None:
        with path.open(newline="", encoding="utf-8") as file:
            for _ in csv.DictReader(file):
                pass

    took = {"csv alone": seconds(plain), "read and judged": seconds(lambda: read_manifest(path, known, True))}
    tracemalloc.start()
    read = read_manifest(path, known, True)
    took["MiB held by the samples"], took["MiB at most"] = (
        size / 2**20 for size in tracemalloc.get_traced_memory()
    )
    tracemalloc.stop()
    assert (len(read.samples), read.left_out) == (rows - rows // 100, rows // 100)
    return took


def main() -> None:
    """Time both, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the slides and rows")
    chosen = parser.parse_args()
    part = 10 if chosen.quick else 1
    with tempfile.TemporaryDirectory(prefix="fedpath-bench-") as place:
        timed = slides(Path(place), SLIDES // part)
        shutil.rmtree(Path(place) / "slides")
        read = manifest(Path(place), ROWS // part)
    whole = timed["every slide opened"]
    if chosen.json:
        print(
            json.dumps({"slides": SLIDES // part, "seconds": timed, "rows": ROWS // part, "manifest": read})
        )
        return
    print(
        f"{SLIDES // part:,} slides on this disk, {usable_cores()} cores; seconds, and as a share of opening all"
    )
    for name, took in timed.items():
        print(f"  {name:32} {took:8.2f}  {took / whole:7.3f}")
    print(f"a manifest of {ROWS // part:,} rows, one in a hundred bad")
    for name, figure in read.items():
        print(f"  {name:32} {figure:8.2f}")


if __name__ == "__main__":
    main()
