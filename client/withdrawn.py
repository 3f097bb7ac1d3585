"""Patients who withdrew their consent: `withdrawn.txt` in the home, one patient a line, as the manifest writes them.

It never leaves the hospital; the ledger says only how many lines it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from client.errors import HomeError


def read_withdrawn(path: Path) -> frozenset[str]:
    """The patients in the file, none where there is no file; empty lines do not count.

    Raises `HomeError` where it can't be read: nothing may be drawn while it is unknown from whom.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise HomeError(
            f"{path}: can't be read ({type(error).__name__}): it holds one patient a line, in UTF-8; mend it, for "
            "nobody is trained on until then"
        ) from None
    return frozenset(line.strip() for line in lines if line.strip())


def add_withdrawn(path: Path, patients: Iterable[str]) -> frozenset[str]:
    """Add patients, durably, and return all; a patient who stands there already is not written again.

    Raises `HomeError` where the file can't be read or written.
    """
    before = read_withdrawn(path)
    new = sorted({patient.strip() for patient in patients} - before - {""})
    text = "".join(f"\n{patient}\n" for patient in new)  # whatever the last line ends in
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise HomeError(f"{path}: {error.strerror}: check the folder, the disk, and who runs this") from error
    return before | set(new)
