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
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIZES = struct.Struct(">II24xH9s")  # from byte 8: width, height, then components and what each of them is
_THREE_BYTES = b"\x07\x01\x01" * 3  # 8 bits, unsigned, not subsampled


class DamagedTileError(Exception):
    """A tile whose bytes don't decode to its pixels."""


def jpeg_decoder(tables: bytes | None, transform: int | None, width: int, height: int) -> Decode:
    """Decodes abbreviated JPEG streams that share `tables` (TIFF tag 347), or whole ones where that is None.

    The colours are what the TIFF says, whatever the stream lets one guess: `transform` 0 for RGB, 1 for YCbCr, None for
    gray. It is said by an Adobe segment put before the stream; a JFIF segment would overrule it, and then the check at
    opening sees other colours than OpenSlide's.
    """
    head = tables[:-2] if tables else _START
    if transform is not None:
        head += _ADOBE + bytes([transform])

    def decode(data: bytes, into: NDArray[np.uint8]) -> None:
        if not data.startswith(_START):
            raise DamagedTileError
        try:
            # Strict: what libjpeg only warns of is damage too, as it is to OpenSlide.
            tile = simplejpeg.decode_jpeg(head + data[2:], colorspace="RGB", buffer=into, strict=True)
        except ValueError:
            raise DamagedTileError from None
        if tile.shape != (height, width, 3):
            raise DamagedTileError

    return decode


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
