"""Decoders of a tile's bytes: JPEG by libjpeg-turbo, JPEG 2000 by OpenJPEG.

Both release the interpreter's lock, give exactly the tile's size or fail, and allocate nothing that a hostile header
asks for beyond it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

Decode = Callable[[bytes, NDArray[np.uint8]], None]
"""From a tile's bytes into RGB [height, width, 3], contiguous. Raises DamagedTileError; what was written then is void."""

_START = b"\xff\xd8"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # all of an APP14 segment but its last byte, the transform
_START_OF_SCAN, _APP0, _APP14 = 0xDA, 0xE0, 0xEE
_STARTS_OF_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # the codings that libjpeg-turbo decodes to bytes
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIZES = struct.Struct(">II24xH9s")  # from byte 8: width, height, then components and what each of them is
_THREE_BYTES = b"\x07\x01\x01" * 3  # 8 bits, unsigned, not subsampled


class DamagedTileError(Exception):
    """A tile whose bytes don't decode to its pixels."""


def jpeg_decoder(tables: bytes | None, transform: int | None, width: int, height: int) -> Decode:
    """Decodes abbreviated JPEG streams that share `tables` (TIFF tag 347), or whole ones where that is None.

    The colours are what the TIFF says, as they are to OpenSlide, whatever a stream says: `transform` 0 for RGB, 1 for
    YCbCr, None for gray. It is said by an Adobe segment put before the stream, whose own segments of colours are left
    out; those of `tables` are not, and where they say otherwise the check at opening sees it.
    """
    head = tables[:-2] if tables else _START
    if transform is not None:
        head += _ADOBE + bytes([transform])
    components = 1 if transform is None else 3

    def decode(data: bytes, into: NDArray[np.uint8]) -> None:
        if not data.startswith(_START):
            raise DamagedTileError
        stream = head + _colourless(data, components)
        try:
            # Strict: what libjpeg only warns of is damage too, as it is to OpenSlide.
            tile = simplejpeg.decode_jpeg(stream, colorspace="RGB", buffer=into, strict=True)
        except ValueError:
            raise DamagedTileError from None
        if tile.shape != (height, width, 3):
            raise DamagedTileError

    return decode


def _colourless(data: bytes, components: int) -> bytes:
    """A JPEG stream behind its start, without the segments that say what colours it holds (JFIF's APP0, Adobe's APP14).

    Raises DamagedTileError if it holds another number of components, or what is no segment stands before the scan.
    """
    kept, start, at = b"", 2, 2
    while True:
        if len(data) < at + 4 or data[at] != 0xFF:
            raise DamagedTileError
        kind = data[at + 1]
        if kind == _START_OF_SCAN:
            return kept + data[start:]
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        if kind in (_APP0, _APP14):
            kept, start = kept + data[start:at], end
        elif kind in _STARTS_OF_FRAMES and data[at + 9 : at + 10] != bytes([components]):
            raise DamagedTileError
        at = end


def jpeg2000_decoder(width: int, height: int) -> Decode:
    """Decodes JPEG 2000 codestreams of three 8-bit components that are red, green and blue."""

    def decode(data: bytes, into: NDArray[np.uint8]) -> None:
        if not data.startswith(_CODESTREAM) or len(data) < 8 + _SIZES.size:
            raise DamagedTileError
        if _SIZES.unpack_from(data, 8) != (width, height, 3, _THREE_BYTES):
            raise DamagedTileError
        try:
            imagecodecs.jpeg2k_decode(data, numthreads=1, out=into)
        except (ValueError, RuntimeError):
            raise DamagedTileError from None

    return decode
