"""Shamir's sharing of 32-byte secrets: any `threshold` shares give the secret, fewer tell nothing about it.

Shamir, "How to share a secret" (CACM 22(11), 1979), over the integers modulo 2^256 + 297, the least prime above every
secret. Holder x (from 1 on) has the polynomial's value at x; the secret is its value at 0.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(secret: bytes, threshold: int, holders: int) -> tuple[bytes, ...]:
    """The shares of holders 1, 2, ..., `holders`: 33 bytes each.

    The polynomial's other coefficients are uniform, from the operating system; so any threshold - 1 shares are uniform
    and independent of the secret. Raises `ValueError` for a secret of another length, or 1 <= threshold <= holders not
    holding.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    if not 1 <= threshold <= holders:
        raise ValueError(f"{threshold} of {holders} shares is no threshold")
    coefficients = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    coefficients.append(int.from_bytes(secret))  # the highest power first
    return tuple(_value(coefficients, x).to_bytes(SHARE_BYTES) for x in range(1, holders + 1))


def is_share(value: bytes) -> bool:
    """Whether `split` could have written it: 33 bytes, below the prime."""
    return len(value) == SHARE_BYTES and int.from_bytes(value) < PRIME


def weights_at_zero(holders: tuple[int, ...]) -> dict[int, int]:
    """Each holder's factor in the sum that gives the secret (Lagrange); the same for every secret they share."""
    weights = {}
    for x in holders:
        above, below = 1, 1
        for other in holders:
            if other != x:
                above = above * other % PRIME
                below = below * (other - x) % PRIME
        weights[x] = above * pow(below, -1, PRIME) % PRIME
    return weights


def combine(shares: Mapping[int, bytes], weights: Mapping[int, int]) -> bytes:
    """The secret from the shares of exactly the holders that `weights` is for.

    Shares that lie on no polynomial of the right degree give other bytes, or raise `ValueError`: whoever combines must
    know the secret when it sees it.
    """
    if shares.keys() != weights.keys():
        raise ValueError("the weights are for other holders")
    value = sum(int.from_bytes(share) * weights[x] for x, share in shares.items()) % PRIME
    if value >= 2 ** (8 * SECRET_BYTES):
        raise ValueError("these shares are of no secret of 32 bytes")
    return value.to_bytes(SECRET_BYTES)


def _value(coefficients: list[int], x: int) -> int:
    value = 0
    for coefficient in coefficients:
        value = (value * x + coefficient) % PRIME
    return value
