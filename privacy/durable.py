"""Files that are written whole or not at all, and that outlive a power cut."""

from __future__ import annotations

import glob
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

_LEFT_S = 86_400.0  # no writer takes that long: the file is a dead one's


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data`, durably, in the place of whatever stands at `path`.

    Guarantee: whatever instant the process or the machine dies at, `path` is as it was or holds all of `data`; once
    this returns, it holds `data`. A link at `path` is replaced, never followed. The file is a new one with `mode`, less
    the umask; nobody can foresee the name under which it is written. A death leaves it beside, as
    `<name>.<random>.part`; a later `replace` of `path` removes what is a day old. Raises `OSError`: then `path` is as it
    was, unless only its folder could not be synced.
    """
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        with suppress(FileNotFoundError):
            if time.time() - left.lstat().st_mtime > _LEFT_S:
                left.unlink()
    put(path, data, mode)


def put(path: Path, data: bytes, mode: int = 0o600) -> None:
    """As `replace`, but what a death leaves beside is not looked for: for a folder of many files, each written once, which
    would be searched for each, and which goes as a whole.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed and removed in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
