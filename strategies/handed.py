"""What the consortium hands to an auditor beside its journal: expert states, memories of optimisers, releases.

    states/<sha256>.safetensors     every state and memory that the journal names
    releases/<sha256>.release       every accepted release that was kept

Reading is of hostile files: a plain file, of a bounded size, whose bytes have the hash that it is called by; or else
`HandedError`.
"""

from __future__ import annotations

import stat
from pathlib import Path

from privacy import tensors
from strategies.errors import HandedError
from strategies.intake import MAX_MEMORY_BYTES

STATES, RELEASES = "states", "releases"
_ENDS = {STATES: ".safetensors", RELEASES: ".release"}


def place(folder: Path, kind: str, digest: str) -> Path:
    """Where the file of this kind and hash lies in a folder that was handed over."""
    return folder / kind / f"{digest}{_ENDS[kind]}"


def read(folder: Path, kind: str, digest: str) -> bytes:
    """The bytes of that hash. Raises `HandedError`; its `missing` says whether they are not there at all."""
    path = place(folder, kind, digest)
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise HandedError(f"{path.name} is no plain file")
        if found.st_size > MAX_MEMORY_BYTES:
            raise HandedError(f"{path.name} has {found.st_size} bytes, more than any state or release")
        data = path.read_bytes()
    except FileNotFoundError:
        raise HandedError(f"{path.name} is not in {kind}/", missing=True) from None
    except OSError as error:
        raise HandedError(f"{path.name} can't be read: {error.strerror}") from error
    if tensors.digest(data) != digest:
        raise HandedError(f"{path.name} holds other bytes than those of that hash")
    return data


def names(folder: Path, kind: str) -> list[str]:
    """What lies in the folder for this kind, by file name, sorted; nothing where there is no such folder."""
    return sorted(path.name for path in (folder / kind).iterdir()) if (folder / kind).is_dir() else []
