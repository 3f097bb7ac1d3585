"""What kind of DICOM file one is that OpenSlide refuses: enough of its head is read to say so by name.

The head of a DICOM file (PS3.10, section 7.1) is 128 free bytes, "DICM", then the group 0002 in explicit little endian.
Nothing beyond that group is read, and of it only the class of the object: the rest names patients.
"""

from __future__ import annotations

import struct
from pathlib import Path

from client.errors import OtherDicomError, SlideError, UnsupportedDicomError

_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_CLASS = (0x0002, 0x0002)  # Media Storage SOP Class UID
_LONG = frozenset(
    {b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN"}
)  # these have four bytes of length after two of none
_HEAD = 4096


def dicom_error(path: Path) -> SlideError | None:
    """The error that names what this DICOM file is; None if it is no DICOM file. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[128:132] != b"DICM":
        return None
    kind = _class(head)
    return UnsupportedDicomError(path.name) if kind == _SLIDE else OtherDicomError(path.name)


def _class(head: bytes) -> bytes | None:
    at = 132
    while at + 12 <= len(head):
        group, element, form, length = struct.unpack_from("<HH2sH", head, at)
        at += 8
        if form in _LONG:
            (length,) = struct.unpack_from("<I", head, at)
            at += 4
        if (group, element) == _CLASS:
            return head[at : at + length].rstrip(b"\0 ")
        if group != _CLASS[0]:
            return None
        at += length
    return None
