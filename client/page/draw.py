"""Draw one slide: `python -m client.page.draw`, a process that the page starts, and may lose.

One JSON object comes in, so that no slide's name stands among the machine's processes; one picture goes out, or nothing
where there is none. What decoders write to standard output and error goes nowhere: it may quote a file.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from client.errors import ClientError
from client.slides.slide import open_slide
from client.slides.tissue_map import whole_slide
from privacy.errors import PrivacyError

THUMBNAIL = 240  # pixels of its longer side
_JPEG_QUALITY = 80
_MEMORY = {
    "thumbnail": 4 << 30,
    "sheet": 16 << 30,
}  # bytes of address space; the second loads the model's libraries
_LONGEST_S = 100  # of the processor's time
_PR_SET_PDEATHSIG = 1


def thumbnail(path: Path, mpp: float) -> bytes:
    """A JPEG of the whole slide, without metadata; white where it can't be read. Raises SlideError."""
    from PIL import Image

    with open_slide(path, mpp) as reader:
        slide = reader.slide
        coarse = mpp * max(1.0, max(slide.width, slide.height) / THUMBNAIL)
        pixels, _ = whole_slide(reader, coarse)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def sheet(home: Path, name: str) -> bytes:
    """The PNG that `slide show` writes: tissue, tiles, what the manifest asks. Raises `ClientError`."""
    from client.evaluation.ask import find_asked, open_asked
    from client.evaluation.slide_look import asked_about, look
    from client.evaluation.slide_picture import slide_picture
    from client.home import Home
    from client.model.base import Scales

    place = Home(home)
    slide = open_asked(*find_asked(place, Path(name)))
    samples, _ = asked_about(place, slide)
    shown = look(slide, Scales.read(place.settings.base / "fedpath.json"), samples)
    out = io.BytesIO()
    slide_picture(shown).save(out, "PNG")
    return out.getvalue()


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {
    "thumbnail": lambda asked: thumbnail(Path(asked["path"]), asked["mpp"]),
    "sheet": lambda asked: sheet(Path(asked["home"]), asked["name"]),
}


def main() -> int:
    """Draw what standard input asks for."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a page that ends leaves nobody drawing
    asked = json.load(sys.stdin)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the page's to judge
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY[asked["kind"]],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (_LONGEST_S,) * 2)
    with os.fdopen(os.dup(1), "wb") as out:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
        try:
            out.write(_KINDS[asked["kind"]](asked))
        except (ClientError, PrivacyError, OSError, ValueError, MemoryError):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
