"""The locked set: `requirements.lock` says the versions, `requirements.hashes` the files that each may come as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK, HASHES = ROOT / "requirements.lock", ROOT / "requirements.hashes"
_PIN = re.compile(r"^([a-z0-9-]+)==([^\s\\;]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def pins(path: Path = LOCK) -> dict[str, str]:
    """Version by name."""
    return dict(_PIN.findall(path.read_text("utf-8")))


def hashes(path: Path = HASHES) -> Mapping[str, tuple[str, ...]]:
    """SHA-256 of every file of a package that the index has, by the package's name."""
    starts = [*_PIN.finditer(text := path.read_text("utf-8"))]
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return {
        start[1]: tuple(_HASH.findall(text, start.end(), end))
        for start, end in zip(starts, ends, strict=True)
    }
