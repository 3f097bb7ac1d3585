"""Masks: a 32-byte seed stretched to a vector of uniform words, added to or taken off a vector in place.

The stream is ChaCha20's (RFC 8439) under the seed as key and a nonce of zeros. A seed is used for one mask only: it
comes from one round's key agreement or from the operating system.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from privacy.secagg.grid import Words, zeros

SEED_BYTES = 32
_CHUNK = 1 << 17  # bytes of the stream at a time: it stays in the processor's cache
_ZEROS = bytes(_CHUNK)


def mask(seed: bytes, size: int, bits: int) -> Words:
    """The mask of `seed`: `size` words of 32 or 64 bits, uniform to whoever does not know the seed."""
    out = zeros(size, bits)
    add_mask(out, seed)
    return out


def add_mask(vector: Words, seed: bytes, negative: bool = False) -> None:
    """Add the mask of `seed` to `vector` in place, or take it off; modulo the word. Memory: one chunk.

    Raises `ValueError` for a seed that has not 32 bytes.
    """
    stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
    chunk = bytearray(_CHUNK)
    words: NDArray[Any] = np.frombuffer(chunk, vector.dtype.newbyteorder("<"))
    combine = np.subtract if negative else np.add
    for start in range(0, vector.size, words.size):
        part = vector[start : start + words.size]
        stream.update_into(_ZEROS[: part.nbytes], chunk)
        combine(part, words[: part.size], out=part)
