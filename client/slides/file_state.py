"""Whether a file is still the one that was opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from client.errors import ChangedSlideError


class FileState(NamedTuple):
    """What tells one state of a file from another: a write changes a time or the size, a replacement the inode.

    `modified_ns` a writer may set back, `changed_ns` only the system sets: it moves with rights, names and links too,
    and then a reader has to be opened anew, which is the lesser harm. A write of the same size within the clock tick of the
    opening (milliseconds) can't be seen. Of a slide that is several files, this is the one that was named.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """From what the system says of a file."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def unchanged(path: Path, state: FileState) -> None:
    """Raises ChangedSlideError unless `path` still leads to the file in the state that it had."""
    try:
        now = FileState.of(os.stat(path))
    except OSError:
        raise ChangedSlideError(path.name) from None
    if now != state:
        raise ChangedSlideError(path.name)
