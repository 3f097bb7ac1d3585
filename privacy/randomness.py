"""Where randomness comes from: AES-256 in counter mode, keyed by the operating system.

Noise that protects patients must not be guessable, so it never comes from numpy's or torch's generators.
The keystream gives 53-bit uniforms, and Box-Muller turns pairs of them into float64 Gaussians (the largest
possible deviate is 8.57; a true Gaussian passes it once in 10^17).  Sums of float64 noise are rounded to
float32 and then to int8 before they leave, which hides the low bits that floating-point attacks read.
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


class RandomSource(Protocol):
    """What sampling and noise draw from."""

    def uniform(self, count: int) -> NDArray[np.float64]:
        """`count` independent uniforms in [0, 1), multiples of 2**-53."""
        ...

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """`count` independent standard Gaussians."""
        ...

    def integers(self, count: int, below: int) -> NDArray[np.int64]:
        """`count` independent whole numbers in [0, below), for 1 <= below <= 2**53."""
        ...


class _Keystream:
    """A stream of uniforms from one AES key."""

    def __init__(self, key: bytes) -> None:
        self._stream = Cipher(AES256(key), CTR(bytes(16))).encryptor()

    def _words(self, count: int) -> NDArray[np.uint64]:
        return np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8") >> np.uint64(11)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """See `RandomSource.uniform`."""
        return self._words(count).astype(np.float64) * 2.0**-53

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """See `RandomSource.gaussian`."""
        pairs = (count + 1) // 2
        words = self._words(2 * pairs)
        radius = np.sqrt(-2.0 * np.log((words[:pairs] + np.uint64(1)) * 2.0**-53))  # the log of (0, 1]
        angle = words[pairs:] * (2.0 * np.pi * 2.0**-53)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]

    def integers(self, count: int, below: int) -> NDArray[np.int64]:
        """See `RandomSource.integers`; the bias is under `below` * 2**-53."""
        if not 1 <= below <= 2**53:
            raise ValueError(f"below must lie between 1 and 2**53, not {below}")
        return np.floor(self.uniform(count) * below).astype(np.int64)


class SecureRandom(_Keystream):
    """The source for anything that protects a patient.

    A fork takes a fresh key on first use, so parent and child never add the same noise twice.
    """

    def __init__(self) -> None:
        super().__init__(os.urandom(32))
        self._process = os.getpid()

    def _words(self, count: int) -> NDArray[np.uint64]:
        if os.getpid() != self._process:
            super().__init__(os.urandom(32))
            self._process = os.getpid()
        return super()._words(count)


class SeededRandom(_Keystream):
    """The same stream from a seed: for tests and public choices only, never for noise that protects."""

    def __init__(self, seed: int | str) -> None:
        super().__init__(hashlib.sha256(f"fedpath/seeded/{seed}".encode()).digest())
