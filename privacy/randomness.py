"""Where randomness comes from: AES-256 in counter mode, keyed by the operating system.

Noise that protects patients must not be guessable, so it never comes from numpy's or torch's generators.
The keystream gives 53-bit uniforms, Box-Muller turns pairs of them into float64 Gaussians, and each Gaussian
that is given out is the sum of four such, from four different pairs, halved: so Holohan and Braghin (arXiv
2107.10138, section 5.1 with n = 2, as Opacus' secure mode does) harden sampling against an attacker who knows
which float64 values the sampler can give: finding a sum's parts is a search of about 2^159.  The largest
deviate is 17.1; a true Gaussian passes 8.57, the largest of a single Box-Muller, once in 10^17.

Noised sums are rounded to float32 and then to int8 levels before they leave, so the low bits that floating-
point attacks read do not even get out.
"""

from __future__ import annotations

import hashlib
import os
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

_BLOCK = 1 << 14  # Gaussians made at a time: their parts stay in the processor's cache


class RandomSource(Protocol):
    """What sampling and noise draw from.

    | asked for                | gives                                                  |
    |--------------------------|--------------------------------------------------------|
    | 0 values                 | an empty array; the stream stays where it is           |
    | 1 value, an odd number   | that many; what is left of the last pair is discarded  |
    | integers below 1         | zeros                                                  |
    """

    @property
    def secure(self) -> bool:
        """Whether nobody can know or repeat what it gives.  Nothing noised from another source is sealed."""
        ...

    def uniform(self, count: int) -> NDArray[np.float64]:
        """`count` independent uniforms in [0, 1), multiples of 2**-53."""
        ...

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """`count` independent standard Gaussians, hardened (see the module)."""
        ...

    def integers(self, count: int, below: int) -> NDArray[np.int64]:
        """`count` independent whole numbers in [0, below), for 1 <= below <= 2**53."""
        ...

    def whole(self, count: int, below: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """`count` independent whole numbers in [0, below), each exactly as likely as any other.

        `below` is one bound from 1 to 2**63 - 1, or one for each.
        """
        ...


class _Keystream:
    """A stream of uniforms from one AES key."""

    def __init__(self, key: bytes) -> None:
        self._stream = Cipher(AES256(key), CTR(bytes(16))).encryptor()

    def _full_words(self, count: int) -> NDArray[np.uint64]:
        return np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8")

    def _words(self, count: int) -> NDArray[np.uint64]:
        return self._full_words(count) >> np.uint64(11)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """See `RandomSource.uniform`."""
        return self._words(count).astype(np.float64) * 2.0**-53

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """See `RandomSource.gaussian`."""
        out = np.empty(count)
        for start in range(0, count, _BLOCK):
            block = out[start : start + _BLOCK]
            block[:] = self._hardened(len(block) + len(block) % 2)[: len(block)]
        return out

    def _hardened(self, count: int) -> NDArray[np.float64]:
        """An even `count` of sums of four Gaussians; value i takes pairs i and i + count by their first half,
        and pairs i + count / 2 and i + 3 count / 2 (modulo 2 count) by their second.
        """
        first, second = self._box_muller(2 * count)
        half = count // 2
        total = first[:count] + first[count:]
        total += second[half : half + count]
        total[:half] += second[half + count :]
        total[half:] += second[:half]
        total *= 0.5
        return total

    def _box_muller(self, pairs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        words = self._words(2 * pairs)
        radius = np.sqrt(-2.0 * np.log((words[:pairs] + np.uint64(1)) * 2.0**-53))  # the log of (0, 1]
        # cos and sin of an angle from the tangent t of its half: (1 - t^2) and 2t over (1 + t^2).
        # One vectorised tangent takes a tenth of the time of a cosine and a sine.
        tangent = np.tan(words[pairs:] * (np.pi * 2.0**-53))
        square = tangent * tangent
        radius /= 1.0 + square
        return radius * (1.0 - square), 2.0 * tangent * radius

    def integers(self, count: int, below: int) -> NDArray[np.int64]:
        """See `RandomSource.integers`; the bias is under `below` * 2**-53."""
        if not 1 <= below <= 2**53:
            raise ValueError(f"below must lie between 1 and 2**53, not {below}")
        return np.floor(self.uniform(count) * below).astype(np.int64)

    def whole(self, count: int, below: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """See `RandomSource.whole`: the first 2**64 mod `below` words are drawn again, the others divide evenly."""
        bounds = np.asarray(below, np.int64)
        if np.any(bounds < 1):
            raise ValueError(f"below must lie between 1 and 2**63 - 1, not {bounds.min()}")
        bounds = bounds.astype(np.uint64)
        refused = (np.uint64(2**64 - 1) % bounds + np.uint64(1)) % bounds  # 2**64 mod bounds
        words = self._full_words(count)
        again = np.flatnonzero(words < refused)
        out = words % bounds
        if again.size:
            one = bounds if bounds.ndim == 0 else bounds[again]
            out[again] = self.whole(again.size, one.astype(np.int64))
        return out.astype(np.int64)


class SecureRandom(_Keystream):
    """The source for anything that protects a patient.

    A fork takes a fresh key on first use, so parent and child never add the same noise twice.
    """

    secure = True

    def __init__(self) -> None:
        super().__init__(os.urandom(32))
        self._process = os.getpid()

    def _full_words(self, count: int) -> NDArray[np.uint64]:
        if os.getpid() != self._process:
            super().__init__(os.urandom(32))
            self._process = os.getpid()
        return super()._full_words(count)


class SeededRandom(_Keystream):
    """The same stream from a seed: for tests and public choices only.  What it noised can't be sealed."""

    secure = False

    def __init__(self, seed: int | str) -> None:
        super().__init__(hashlib.sha256(f"fedpath/seeded/{seed}".encode()).digest())

    def shorts(self, count: int) -> NDArray[np.uint16]:
        """`count` independent whole numbers in [0, 2**16): two bytes of keystream each."""
        return np.frombuffer(self._stream.update(bytes(2 * count)), dtype="<u2")
