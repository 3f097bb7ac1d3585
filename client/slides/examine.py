"""Look at one slide: `python -m client.slides.examine`, a process that `client.slides.examiners` starts and may lose.

One JSON object a line comes in, one goes out. What goes out is numbers, words of closed sets and hashes: no text that
stands in a file. What decoders write to their standard output and error goes nowhere: it may quote a file.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openslide

from client.errors import SlideError, UnreadableSlideError
from client.slides.fingerprint import content_hash, fingerprint
from client.slides.slide import SlideReader, open_slide

VENDORS = frozenset(
    {
        "aperio", "dicom", "generic-tiff", "hamamatsu", "leica", "mirax", "philips", "sakura", "synthetic", "trestle",
        "ventana", "zeiss",
    }
)  # fmt: skip
MEMORY = 4 << 30  # bytes of address space; a whole slide takes an eighth of that
_STAND_IN_MPP = 1.0  # a slide that states no scale is opened under this one, to learn the rest
_MOST_POWER = 1000.0
_SERIES = "dicom.SeriesInstanceUID"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Facts:
    """What a slide's file says of its pixels. `mpp` is what it states, None where that is of no use: then
    `unscaled` is the reason. `series` is its DICOM series' UID, "" of other formats: to be kept under a pseudonym.
    """

    vendor: str
    width: int
    height: int
    downsamples: tuple[float, ...]
    mpp: float | None
    unscaled: str
    objective: float | None
    series: str
    fingerprint: str


def facts(path: Path) -> Facts:
    """Open a slide, read at its corners, and take its fingerprint. Raises SlideError, but not for want of a scale."""
    unscaled = ""
    try:
        reader = open_slide(path)
    except SlideError as error:
        reader, unscaled = _without_scale(path, error), error.reason
    with reader:
        reader.probe()
        slide = reader.slide
    vendor = openslide.OpenSlide.detect_format(path) or ""
    with openslide.OpenSlide(path) as handle:
        objective = _power(handle.properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
        series = handle.properties.get(_SERIES, "") if vendor == "dicom" else ""
    return Facts(
        vendor=vendor if vendor in VENDORS else "",
        width=slide.width,
        height=slide.height,
        downsamples=slide.downsamples,
        mpp=None if unscaled else slide.mpp,
        unscaled=unscaled,
        objective=objective,
        series=series,
        fingerprint=fingerprint(path),
    )


def _without_scale(path: Path, error: SlideError) -> SlideReader:
    """The slide under a stand-in scale, where that was all it lacked; else its error."""
    try:
        return open_slide(path, _STAND_IN_MPP)
    except SlideError:
        raise error from None


def _power(text: str | None) -> float | None:
    try:
        power = float(text or "")
    except ValueError:
        return None
    return power if math.isfinite(power) and 0 < power <= _MOST_POWER else None


def _quality(path: Path, mpp: float) -> dict[str, Any]:
    from client.slides.quality import measure  # loads scipy, which a look at facts has no use for

    with open_slide(path, mpp) as reader:
        return asdict(measure(reader))


_JOBS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "facts": lambda asked: asdict(facts(Path(asked["path"]))),
    "quality": lambda asked: _quality(Path(asked["path"]), asked["mpp"]),
    "content": lambda asked: content_hash([Path(path) for path in asked["files"]]),
}


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """{"found": what the job gave} or {"reason": why it can't}. Whatever a file makes a decoder raise is a reason."""
    try:
        return {"found": _JOBS[asked["job"]](asked)}
    except SlideError as error:
        return {"reason": error.reason}
    except Exception:
        return {"reason": UnreadableSlideError.reason}


def _bound_memory() -> None:
    """A slide that asks for more costs its own process, and not what else runs on the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bounds = [MEMORY, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))


def main(parent: int) -> None:
    """Answer until standard input ends, or the process `parent` does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _bound_memory()
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to judge
    with os.fdopen(os.dup(1), "w") as out:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
        print("{}", file=out, flush=True)  # ready
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
