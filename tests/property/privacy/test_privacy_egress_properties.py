"""The egress guard against an agent gone wrong: whatever it signs with the hospital's own key, nothing rides along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy import tensors
from privacy.egress import check_reply
from privacy.errors import EgressError
from privacy.keys import Purpose
from privacy.release import MAGIC
from tests.privacy_cases import POLICY, Hospital, hospital

LIMIT = 100_000
NAME = "release/scale/roi"
_PAYLOAD = len(MAGIC) + 64

hidden = st.binary(min_size=1, max_size=64)
odd_names = st.sampled_from(["loss", "metrics", "code", "counts", "release/", "n" * 5000])
names = (st.text(min_size=1, max_size=20) | odd_names).filter(lambda name: name != NAME)


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return hospital(tmp_path_factory.mktemp("north"))


@pytest.fixture(scope="module")
def good(north: Hospital) -> bytes:
    return north.releases()["scale/roi"]


def _stays(north: Hospital, reply: dict[str, bytes]) -> None:
    with pytest.raises(EgressError):
        check_reply(
            reply,
            POLICY,
            limit=LIMIT,
            epsilon=1.0,
            destination=north.key.public,
            expected=north.expectation(),
        )


def _signed(north: Hospital, payload: bytes) -> dict[str, bytes]:
    return {NAME: MAGIC + north.key.sign(payload, Purpose.RELEASE) + payload}


def _contents(good: bytes) -> tuple[dict[str, NDArray[Any]], str]:
    return tensors.deserialize(good[_PAYLOAD:], len(good))


def test_the_release_itself_leaves(north: Hospital, good: bytes) -> None:
    """Catches tests below that would pass for a guard that lets nothing through."""
    parts, metadata = _contents(good)
    reply = _signed(north, tensors.serialize(parts, metadata))
    assert check_reply(
        reply, POLICY, limit=LIMIT, epsilon=1.0, destination=north.key.public, expected=north.expectation()
    )


@settings(deadline=None)
@given(extra=st.dictionaries(names, hidden, min_size=1, max_size=3))
def test_no_record_rides_along(north: Hospital, good: bytes, extra: dict[str, bytes]) -> None:
    """Catches a further record of any name, however long, beside a good release."""
    _stays(north, {NAME: good, **extra})


@settings(deadline=None)
@given(message=hidden, at=st.integers(0, 3))
def test_no_bytes_ride_in_the_padding(north: Hospital, good: bytes, message: bytes, at: int) -> None:
    """Catches bytes after the tensors, before them, and in the header's white space, signed as they stand."""
    payload = good[_PAYLOAD:]
    length = int.from_bytes(payload[:8], "little")
    header, data = payload[8 : 8 + length], payload[8 + length :]
    blanks = "".join(" " if byte % 2 else "\t" for byte in message).encode()
    wide = header.replace(b",", b"," + blanks, 1)
    longer = header + b" " * len(message)
    spoilt = (
        payload + message,
        payload[: 8 + length] + message + data,
        len(wide).to_bytes(8, "little") + wide + data,
        len(longer).to_bytes(8, "little") + longer + data,
    )[at]
    _stays(north, _signed(north, spoilt))


@settings(deadline=None)
@given(bits=st.integers(1, 2**22 - 1), negative=st.booleans())
def test_no_bits_ride_in_a_nan(north: Hospital, good: bytes, bits: int, negative: bool) -> None:
    """Catches a NaN among the scales, whatever it carries, and a minus in front of nothing."""
    parts, metadata = _contents(good)
    key = next(name for name in parts if name.startswith("s/"))
    scales = parts[key].copy()
    nan = np.uint32(0x7FC00000 | bits | (0x80000000 if negative else 0))
    scales.reshape(-1)[0] = nan.view(np.float32)
    _stays(north, _signed(north, tensors.serialize({**parts, key: scales}, metadata)))


@settings(deadline=None)
@given(message=hidden)
def test_no_bits_ride_in_levels_that_mean_nothing(north: Hospital, good: bytes, message: bytes) -> None:
    """Catches levels under a scale of zero, the level that rounding never gives, and scales below zero: all of them
    dequantise to harmless values.
    """
    parts, metadata = _contents(good)
    level = next(name for name in parts if name.startswith("q/"))
    scale = "s" + level[1:]
    flat = parts[level].reshape(-1).copy()
    said = np.frombuffer(message, np.int8)[: flat.size]
    flat[: said.size] = said | np.int8(1)  # not zero
    loud = flat.reshape(parts[level].shape)
    silent = np.zeros_like(parts[scale])
    lowest = parts[level].copy()
    lowest.reshape(-1)[0] = -128
    for changed in (
        {level: loud, scale: silent},
        {level: lowest},
        {scale: -parts[scale]},
        {level: np.zeros_like(loud), scale: np.full_like(silent, -0.0)},
    ):
        _stays(north, _signed(north, tensors.serialize({**parts, **changed}, metadata)))


@settings(deadline=None)
@given(name=names, text=hidden)
def test_no_tensor_rides_along(north: Hospital, good: bytes, name: str, text: bytes) -> None:
    """Catches a tensor more, of text as bytes, under any name, and one that took another's place."""
    parts, metadata = _contents(good)
    words = np.frombuffer(text, np.int8)
    _stays(north, _signed(north, tensors.serialize({**parts, f"t/{name}": words}, metadata)))
    first = next(iter(parts))
    fewer = {key: value for key, value in parts.items() if key != first}
    _stays(north, _signed(north, tensors.serialize({**fewer, f"t/{name}": words}, metadata)))
