"""The report that `fedpath-hospital evaluate` wrote last into the home: its page, and its figures."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

_MOST_BYTES = 64 << 20
_SCORE = ("scale", "task", "metric", "mean", "ci95", "n")


def read_report(folder: Path) -> bytes | None:
    """The page's bytes; None where there is none, or no plain file of usual size."""
    return _read(folder / "report.html")


def scores(folder: Path) -> list[dict[str, Any]]:
    """The main figures of each scale and task; none where there is no report, or another program's."""
    data = _read(folder / "report.json")
    try:
        found = [] if data is None else json.loads(data)["scores"]
        return [one for one in found if set(_SCORE) <= set(one) and len(one["ci95"]) == 2]
    except (ValueError, TypeError, KeyError):
        return []


def _read(path: Path) -> bytes | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_BYTES:
                return None
            return file.read()
    except OSError:
        return None
