"""Patients who withdrew their consent: `withdrawn.txt` in the home, one patient a line, in any spelling of their key.

A line ends in a line feed, and in nothing else: a patient's name may hold other letters that some call line ends.

It never leaves the hospital; the ledger says only how many lines it has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from client.errors import HomeError
from client.tasks.patient import identity
from client.tasks.sample import Sample


def read_withdrawn(path: Path) -> frozenset[str]:
    """The patients in the file, none where there is no file; empty lines do not count.

    Raises `HomeError` where it can't be read: nothing may be drawn while it is unknown from whom.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise HomeError(
            f"{path}: can't be read ({type(error).__name__}): it holds one patient a line, in UTF-8; mend it, for "
            "nobody is trained on until then"
        ) from None
    patients = frozenset(line.strip() for line in lines if line.strip())
    if any("\r" in patient for patient in patients):
        raise HomeError(
            f"{path}: a line holds a carriage return: end each patient's line in a line feed; nobody is trained on "
            "until then"
        )
    return patients


def staying(samples: Iterable[Sample], withdrawn: Iterable[str]) -> tuple[Sample, ...]:
    """The samples of all patients but these, in whatever spelling either stands."""
    gone = {identity(patient) for patient in withdrawn}
    return tuple(sample for sample in samples if identity(sample.patient) not in gone)


def add_withdrawn(path: Path, patients: Iterable[str]) -> frozenset[str]:
    """Add patients, durably, and return all; a patient who stands there already is not written again.

    Raises `HomeError` where the file can't be read or written, for a name that no line can hold, and unless all can be
    read back.
    """
    before = read_withdrawn(path)
    new = sorted({patient.strip() for patient in patients} - before - {""})
    if any({"\n", "\r"} & set(patient) for patient in new):
        raise HomeError(
            "a patient's name holds a line's end: give one patient a line, as the manifest has it"
        )
    text = "".join(f"\n{patient}\n" for patient in new)  # whatever the last line ends in
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise HomeError(f"{path}: {error.strerror}: check the folder, the disk, and who runs this") from error
    after = read_withdrawn(path)
    if not before | set(new) <= after:
        raise HomeError(
            f"{path}: what was written can't be read back: check the disk, and who else writes there"
        )
    return after
