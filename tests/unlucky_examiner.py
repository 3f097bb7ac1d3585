"""An examiner of slides whose decoder crashes or hangs, as the slide's name says: a real process with a real death.

`python unlucky_examiner.py LOG PARENT` writes each job and slide to LOG as it begins. Of a slide whose name holds
`crash` it dies by a signal, of `dies-once` the first time only, of `hang` it never returns, of `wide` it dies when quality
is measured, of `shut` it returns once the file `LOG.open` is there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.slides import examine

LOG = Path(sys.argv[1]) if __name__ == "__main__" else Path()


def answer(asked: Mapping[str, Any], real: Any = examine.answer) -> dict[str, Any]:
    name = Path(asked.get("path") or asked["files"][0]).name
    before = LOG.read_text().count(name) if LOG.exists() else 0
    with LOG.open("a") as log:
        log.write(f"{asked['job']} {name} {os.getpid()}\n")
    dies = "crash" in name or ("dies-once" in name and not before)
    if dies or ("wide" in name and asked["job"] == "quality"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in name:
        signal.pause()
    while "shut" in name and not LOG.with_suffix(".open").exists():
        time.sleep(0.01)
    found: dict[str, Any] = real(asked)
    return found


if __name__ == "__main__":
    examine.answer = answer
    examine.main(int(sys.argv[2]))
