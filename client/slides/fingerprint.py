"""What tells one slide's content from another's: a fingerprint that costs little, and the hash of all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

_BLOCK = 1 << 16
_BLOCKS = 64
_CHUNK = 1 << 20
COVERED = _BLOCK * _BLOCKS  # bytes of a file up to which `fingerprint` sees all


def fingerprint(path: Path) -> str:
    """sha256 of a slide file's size and of blocks spread evenly over it, its first and last bytes among them.

    A stand-in for the hash of gigabytes: another slide, another export or a longer copy differ; of a file
    of up to COVERED bytes it sees every one.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        last = max(0, size - _BLOCK)
        for start in sorted({last * i // (_BLOCKS - 1) for i in range(_BLOCKS)}):
            stream.seek(start)
            digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def content_hash(paths: Sequence[Path]) -> str:
    """sha256 of every byte of the files that a slide is made of, in this order, and of where each one ends."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        digest.update(f"\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()
