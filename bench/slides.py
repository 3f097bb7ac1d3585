"""How fast tiles come from slides, beside the decoder's own time and beside those who read them too.

    python -m bench.slides [--json] [--quick]

    random-224    224 px at random places of level 0, slide of 20,000 x 20,000 px, JPEG (4:2:2, quality 80, 256-px tiles)
    random-512    512 px there
    half-scale    224 px at 0.5 mpp from 0.25 mpp, by area averaging
    scan          all tiles of 512 px of a slide of 10,000 x 10,000 px, row by row, on the file's own grid
    jpeg2000-224  224 px at random places of a JPEG 2000 slide (Aperio's 33005)
    cores         ours, 512 px at random, two threads and two processes against one, by the clock; beside them what two
                  processes that only count get of the machine, which bounds what anyone can

CPU seconds of one thread, medians of interleaved repeats with the least and the most; ratios are medians over the
repeats. The floor is the decoder alone on exactly the tiles needed (`bench.peers.slide_reader.floor`). Places are the same
for all readers and new in every repeat. Peers get environments under build/bench; who can't be installed, or can't read
a slide, is named as absent. Minutes; `--quick` takes slides so tiny that readers keep them whole: it proves only that all
of it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import command
from bench.peers.environment import BUILD, Peer, PeerError, environment
from bench.privacy_timing import Figures, interleaved
from bench.slides_files import QUALITY, TILE, write_slides

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VIPS_CONCURRENCY"), "1"
)
OWN = ("ours", "floor", "openslide")
PEERS = {
    "tiffslide": (
        "tiffslide==3.0.1",
        "zarr==3.1.6",
        "numcodecs==0.16.6",
        "donfig==0.8.1.post1",
        "google-crc32c==1.9.0",
    ),
    "pyvips": ("pyvips==3.2.0", "pyvips-binary==8.18.7"),
    "cucim": ("cucim-cu12==26.10.0", "lazy-loader==0.6"),
    "large-image": (
        "large-image==1.35.6",
        "large-image-source-openslide==1.35.6",
        "cachetools==8.0.2",
        "palettable==3.3.3",
        "tifftools==1.7.0",
    ),
}
WORKS = {
    "random-224": "random",
    "random-512": "random",
    "half-scale": "random",
    "scan": "scan",
    "jpeg2000-224": "jpeg2000",
}
PROCESSES = ("one-process", "two-processes")
TOGETHER = {"ours": ("one-thread", "two-threads", *PROCESSES), "counting": PROCESSES}
GOALS = {
    "random-224": {"ours_to_floor_most": 1.2, "openslide_to_ours_least": 1.8},
    "random-512": {"ours_to_floor_most": 1.2, "openslide_to_ours_least": 2.5},
    "scan": {"ours_to_floor_most": 1.2, "openslide_to_ours_least": 4.0},
    "half-scale": {"openslide_to_ours_least": 1.8},
    "cores": {"two_cores_least": 1.8},
}
REPEATS, FEW = 7, 3  # of a scan, few: it is whole
SCRIPT = Path("slide_reader.py")


def measure(*, quick: bool) -> dict[str, Mapping[str, object]]:
    """All figures, by work.  Progress goes to stderr."""
    os.environ.update(ONE_THREAD)
    command.measuring("slides")
    slides = write_slides(BUILD / "slides" / ("quick" if quick else "full"), quick=quick)
    pythons, absent = _pythons()
    found: dict[str, Mapping[str, object]] = {
        "setting": {
            "quick": quick,
            "unit": "CPU seconds of one thread; seconds for cores",
            "slides": f"{TILE}-px tiles, JPEG 4:2:2 of quality {QUALITY}; JPEG 2000 in RGB",
            "tiles_kept": "32 MiB",
            "goals": GOALS,
        },
        "parity": _parity(slides, pythons),
    }
    for work, slide in WORKS.items():
        command.measuring(work)
        found[work] = _compare(
            work, slides[slide], pythons, 2 if quick else FEW if work == "scan" else REPEATS
        )
    command.measuring("cores")
    found["cores"] = _cores(slides["random"], 2 if quick else REPEATS)
    found["absent"] = absent
    return found


def _pythons() -> tuple[dict[str, Path], dict[str, str]]:
    """The Python of every reader, and why others are absent."""
    pythons = dict.fromkeys(OWN, Path(sys.executable))
    absent = {}
    for name, requirements in PEERS.items():
        try:
            pythons[name] = environment(name, requirements)
        except PeerError as error:
            absent[name] = str(error)
    return pythons, absent


@contextmanager
def _at_work(
    work: str, slide: Path, pythons: Mapping[str, Path]
) -> Iterator[tuple[dict[str, Peer], Figures]]:
    """A process for every reader that can do the work, and why others can't."""
    with ExitStack() as stack:
        peers, cannot = {}, {}
        for name, python in pythons.items():
            try:
                peers[name] = stack.enter_context(Peer(python, SCRIPT, name, work, slide))
            except PeerError as error:
                cannot[f"{name}_absent"] = str(error)
        yield peers, dict(cannot)


def _compare(work: str, slide: Path, pythons: Mapping[str, Path], repeats: int) -> Figures:
    with _at_work(work, slide, pythons) as (peers, cannot):
        took = interleaved({name: peer.seconds for name, peer in peers.items()}, repeats)
    found: Figures = {f"{name}_s": _spread(each) for name, each in took.items()}
    found["ours_to_floor"] = _ratio(took["ours"], took["floor"])
    for name in took:
        if name not in ("ours", "floor"):
            found[f"{name}_to_ours"] = _ratio(took[name], took["ours"])
    return found | cannot


def _parity(slides: Mapping[str, Path], pythons: Mapping[str, Path]) -> Figures:
    """The greatest difference from OpenSlide at level 0, of 255."""
    found: Figures = {}
    others = {name: python for name, python in pythons.items() if name not in ("floor", "openslide")}
    for slide in ("random", "jpeg2000"):
        with _at_work("parity", slides[slide], others) as (peers, cannot):
            found |= {f"{slide}_{name}": int(peer.seconds()) for name, peer in peers.items()}
            found |= {f"{slide}_{name}": why for name, why in cannot.items()}
    return found


def _cores(slide: Path, repeats: int) -> Figures:
    """Ours on two cores against one, by the clock, and what two processes that only count get: other work on the machine
    takes from both."""
    with ExitStack() as stack:
        works = {
            (reader, work): stack.enter_context(
                Peer(Path(sys.executable), SCRIPT, reader, work, slide)
            ).seconds
            for reader, works in TOGETHER.items()
            for work in works
        }
        took = interleaved(
            {f"{reader}_{work}": seconds for (reader, work), seconds in works.items()}, repeats
        )
    found: Figures = {f"{name}_s": _spread(each) for name, each in took.items()}
    for kind in ("ours_{}-thread", "ours_{}-process", "counting_{}-process"):
        one, two = kind.format("one"), kind.format("two") + ("es" if kind.endswith("process") else "s")
        found[f"{one}_to_two"] = _ratio(took[one], took[two])
    return found | {"cores": os.cpu_count()}


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.4f} ({min(seconds):.4f}-{max(seconds):.4f})"


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return round(median(a / b for a, b in zip(above, below, strict=True)), 3)


def main() -> None:
    """Command line."""
    asked = command.options(__doc__, "tiny slides: proves that it runs").parse_args()
    command.show(measure(quick=asked.quick), asked.json)


if __name__ == "__main__":
    main()
