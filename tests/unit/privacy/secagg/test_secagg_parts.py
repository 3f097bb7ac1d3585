"""Shares, masks and pairwise keys, each by itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privacy.secagg import pairs, shamir
from privacy.secagg.masks import add_mask, mask

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS, st.integers(1, 7), st.integers(0, 4), st.randoms())
def test_any_threshold_of_shares_gives_the_secret(
    secret: bytes, threshold: int, more: int, choice: object
) -> None:
    """Catches a share that fits one subset only; secrets with leading zeros, and of all ones."""
    shares = dict(enumerate(shamir.split(secret, threshold, threshold + more), start=1))
    holders = tuple(choice.sample(sorted(shares), threshold))  # type: ignore[attr-defined]
    assert all(map(shamir.is_share, shares.values()))
    found = shamir.combine({x: shares[x] for x in holders}, shamir.weights_at_zero(holders))
    assert found == secret


def test_fewer_shares_fit_every_secret() -> None:
    """Catches a polynomial of too low a degree: with t - 1 shares, each secret has just one polynomial through them."""
    for holders in itertools.combinations(range(1, 6), 2):
        shares = dict(enumerate(shamir.split(bytes(32), 3, 5), start=1))
        known = {x: shares[x] for x in holders}
        for guess in (
            7,
            2**255,
        ):  # a third point at 0 that they are consistent with; then a share for anyone else
            points = (0, *holders)
            weights = _weights_at(points, 6)
            sixth = sum(w * v for w, v in zip(weights, (guess, *_whole(known)), strict=True)) % shamir.PRIME
            through = {**known, 6: sixth.to_bytes(33)}
            assert shamir.combine(through, shamir.weights_at_zero((*holders, 6))) == guess.to_bytes(32)


def test_single_shares_are_uniform() -> None:
    """Catches coefficients that are small or fixed: the first bytes of 4,000 shares of one secret, level 1e-7."""
    first = [share[1] for _ in range(1000) for share in shamir.split(bytes(32), 3, 4)]
    assert stats.chisquare(np.bincount(first, minlength=256)).pvalue > 1e-7


def test_the_modulus_is_prime_and_above_every_secret() -> None:
    """Catches a typing error in the prime: forty rounds of Miller and Rabin, each wrong once in four."""
    odd, twos = shamir.PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 42):
        value = pow(base, odd, shamir.PRIME)
        squares = [value := value * value % shamir.PRIME if step else value for step in range(twos)]
        assert squares[0] == 1 or shamir.PRIME - 1 in squares
    assert shamir.PRIME > 2**256


@pytest.mark.parametrize(("size", "threshold", "holders"), [(31, 2, 3), (32, 0, 3), (32, 4, 3)])
def test_what_can_not_be_shared_is_refused(size: int, threshold: int, holders: int) -> None:
    """Catches a secret that is cut, and a threshold that nobody reaches."""
    with pytest.raises(ValueError, match=r"secret|threshold"):
        shamir.split(bytes(size), threshold, holders)


def test_shares_of_nothing_are_refused() -> None:
    """Catches a secret of 33 bytes, and weights that are for others."""
    weights = shamir.weights_at_zero((1, 2))
    top = (shamir.PRIME - 1).to_bytes(33)
    with pytest.raises(ValueError, match="no secret"):
        shamir.combine({1: top, 2: top}, weights)
    with pytest.raises(ValueError, match="other"):
        shamir.combine({1: top, 3: top}, weights)
    assert not shamir.is_share(shamir.PRIME.to_bytes(33))
    assert not shamir.is_share(bytes(32))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("size", [1, 1000, 2**15, 2**15 + 1, 100_000])
def test_a_mask_is_the_keystream_whatever_the_chunks(bits: int, size: int) -> None:
    """Catches a chunk that is skipped or repeated, and words in the machine's own order."""
    seed = bytes(range(32))
    stream = Cipher(ChaCha20(seed, bytes(16)), None).encryptor().update(bytes(size * bits // 8))
    assert (mask(seed, size, bits) == np.frombuffer(stream, f"<u{bits // 8}")).all()


@given(SECRETS, SECRETS, st.sampled_from([32, 64]))
def test_a_mask_added_and_taken_off_leaves_nothing(one: bytes, other: bytes, bits: int) -> None:
    """Catches a sign, and two seeds of one mask."""
    vector = mask(one, 100, bits)
    add_mask(vector, other)
    add_mask(vector, one, negative=True)
    assert (vector == mask(other, 100, bits)).all()
    assert (one == other) == bool((mask(one, 100, bits) == mask(other, 100, bits)).all())


def test_seeds_are_the_same_from_both_sides_and_another_for_anything_else() -> None:
    """Catches a key that serves two rounds, two pairs or two uses."""
    a, b, c = (pairs.new_secret() for _ in range(3))
    seed = pairs.mask_seed(a, pairs.public_of(b), "view", "a", "b")
    assert seed == pairs.mask_seed(b, pairs.public_of(a), "view", "b", "a")
    others = [
        pairs.mask_seed(a, pairs.public_of(c), "view", "a", "b"),
        pairs.mask_seed(a, pairs.public_of(b), "later", "a", "b"),
        pairs.mask_seed(a, pairs.public_of(b), "view", "a", "c"),
    ]
    assert len({seed, *others}) == 4


@pytest.mark.parametrize("change", ["view", "sender", "recipient", "bytes", "short", "key"])
def test_what_is_sealed_opens_for_its_recipient_in_its_round_only(change: str) -> None:
    """Catches shares that a server shows to another, in another round, or altered."""
    a, b = pairs.new_secret(), pairs.new_secret()
    sealed = pairs.seal(a, pairs.public_of(b), "view", "a", "b", b"text")
    about = {"view": "view", "sender": "a", "recipient": "b", "sealed": sealed}
    opener = b
    assert pairs.unseal(b, pairs.public_of(a), **about) == b"text"
    if change == "bytes":
        about["sealed"] = sealed[:-1] + bytes([sealed[-1] ^ 1])
    elif change == "short":
        about["sealed"] = sealed[:5]
    elif change == "key":
        opener = pairs.new_secret()
    else:
        about[change] = "other"
    with pytest.raises(ValueError, match=r"sealed|short|[Nn]once|data"):
        pairs.unseal(opener, pairs.public_of(a), **about)


def test_weak_public_keys_are_known() -> None:
    """Catches a key for which every agreement gives zeros, which the server could then open."""
    for weak in (bytes(32), (1).to_bytes(32, "little"), (2**255 - 19).to_bytes(32, "little")):
        assert pairs.is_weak(weak)
    assert not pairs.is_weak(pairs.public_of(pairs.new_secret()))


def _whole(shares: dict[int, bytes]) -> list[int]:
    return [int.from_bytes(share) for share in shares.values()]


def _weights_at(points: tuple[int, ...], at: int) -> list[int]:
    weights = []
    for x in points:
        weight = 1
        for other in points:
            if other != x:
                weight = weight * (at - other) * pow(x - other, -1, shamir.PRIME) % shamir.PRIME
        weights.append(weight)
    return weights
