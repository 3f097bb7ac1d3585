"""Whatever we write we read back, and whatever anyone else writes is read or refused, never a crash."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from privacy import canonical, envelope, keys, tensors
from privacy.errors import PlanError, ReleaseRefused, WireError
from privacy.keys import Purpose
from privacy.plan import Plan
from privacy.quantise import dequantise, quantise
from privacy.release import MAGIC, Expectation, Header, check
from tests.privacy_cases import PLAN, SHAPES, Hospital, hospital

LIMIT = 1 << 20
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    "__metadata__".__ne__
)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
finite = st.floats(-(2.0**100), 2.0**100, width=32)
arrays = hnp.arrays(np.float32, shapes, elements=finite)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def spoiled(data: bytes, at: int, byte: int, cut: int) -> bytes:
    """One byte changed, and the end cut off: close enough to the truth to get past the first checks."""
    at %= len(data)
    return (data[:at] + bytes([byte]) + data[at + 1 :])[: len(data) - cut]


spoil = st.tuples(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 3))


@given(st.dictionaries(names, arrays, max_size=4))
def test_tensors_round_trip(state: dict[str, NDArray[np.float32]]) -> None:
    """Catches a value, shape or name that changes on the wire, and bytes that differ for equal states."""
    data = tensors.encode(state)
    again = tensors.decode(data, LIMIT)
    assert set(again) == set(state)
    for name, value in state.items():
        assert again[name].shape == value.shape
        np.testing.assert_array_equal(again[name], value)
    assert tensors.encode(dict(reversed(list(again.items())))) == data


@given(
    st.dictionaries(names, arrays | hnp.arrays(np.int8, shapes), max_size=6),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_tensors_are_written_as_the_library_writes_them(
    parts: dict[str, NDArray[np.float32] | NDArray[np.int8]], metadata: str | None
) -> None:
    """Catches a header that is not safetensors' own: another order, padding or spelling of a name."""
    table = None if metadata is None else {"fedpath": metadata}
    data = tensors.serialize(parts, metadata)
    assert data == safetensors.numpy.save(parts, table)
    again, text = tensors.deserialize(data, LIMIT)
    assert text == (metadata or "")
    assert metadata is None or tensors.is_as_written(data, again, text)


@given(st.binary(max_size=200), spoil)
def test_hostile_tensors_are_read_or_refused(noise: bytes, how: tuple[int, int, int]) -> None:
    """Catches any error but WireError, on noise and on nearly right files."""
    good = tensors.encode({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float32)})
    header = len(noise).to_bytes(8, "little") + noise
    for data in (noise, header, spoiled(good, *how)):
        try:
            tensors.decode(data, LIMIT)
        except WireError:
            continue


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"F32","shape":[' + b",".join([b"1"] * 100) + b'],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4294967296]}}',
        b'{"__metadata__":{"format":"pt"}}',
        b'{"__metadata__":{"fedpath":3}}',
        b'{"__metadata__":[]}',
        b"[" * 100_000,
        b"null",
    ],
)
def test_hostile_headers_are_refused(header: bytes) -> None:
    """Catches shapes that overflow, offsets outside the file, and metadata that we never write."""
    with pytest.raises(WireError):
        tensors.decode(len(header).to_bytes(8, "little") + header, LIMIT)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_and_other_dtypes_do_not_travel(bad: float) -> None:
    """Catches a state that would poison every hospital's next round."""
    with pytest.raises(WireError, match="NaN or infinity"):
        tensors.encode({"a": np.array([bad], np.float32)})
    raw = tensors.serialize({"a": np.array([bad], np.float32)}, None)
    with pytest.raises(WireError, match="NaN or infinity"):
        tensors.decode(raw, LIMIT)
    with pytest.raises(WireError, match="int8"):
        tensors.decode(tensors.serialize({"a": np.ones(3, np.int8)}, None), LIMIT)
    with pytest.raises(WireError, match="float64"):
        tensors.encode({"a": np.ones(3)})  # type: ignore[dict-item]
    with pytest.raises(WireError, match="keeps that name"):
        tensors.encode({"__metadata__": np.ones(3, np.float32)})
    with pytest.raises(WireError, match="over the limit"):
        tensors.decode(tensors.encode({"a": np.ones(30, np.float32)}), 100)


@given(st.dictionaries(names, st.binary(max_size=50), max_size=5))
def test_envelopes_round_trip(parts: dict[str, bytes]) -> None:
    """Catches a part that is lost, joined to its neighbour, or renamed."""
    data = envelope.pack(parts)
    assert envelope.unpack(data, len(data)) == parts
    assert envelope.pack(dict(reversed(list(parts.items())))) == data
    with pytest.raises(WireError, match="over the limit"):
        envelope.unpack(data, len(data) - 1)


@given(st.binary(max_size=100), spoil)
def test_hostile_envelopes_are_read_canonically_or_refused(noise: bytes, how: tuple[int, int, int]) -> None:
    """Catches a crash, and two byte strings with one meaning."""
    good = envelope.pack({"plan": b"p" * 20, "signature": b"s", "état": b""})
    for data in (noise, b"FPE1" + noise, spoiled(good, *how), good + noise):
        try:
            parts = envelope.unpack(data, LIMIT)
        except WireError:
            continue
        assert envelope.pack(parts) == data


@given(json_values)
def test_canonical_json_round_trips(value: object) -> None:
    """Catches a value whose bytes, and so whose hash, change when read and written again."""
    data = canonical.encode(value)
    assert canonical.encode(canonical.decode(data, LIMIT)) == data


@given(st.binary(max_size=60), spoil)
def test_hostile_plans_are_read_or_refused(noise: bytes, how: tuple[int, int, int]) -> None:
    """Catches any error but PlanError, and a spoiled plan that keeps the hash of the good one."""
    for data in (noise, spoiled(PLAN.to_bytes(), *how)):
        try:
            plan = Plan.from_bytes(data)
        except PlanError:
            continue
        assert plan.to_bytes() == data
        assert (plan.hash == PLAN.hash) == (data == PLAN.to_bytes())


@given(arrays)
def test_quantising_is_within_one_level(value: NDArray[np.float32]) -> None:
    """Catches int8 overflow, a scale of zero, the wrong axis, and a value pushed out of its slice's range."""
    levels, scales = quantise(value, "seed")
    assert levels.shape == value.shape
    assert scales.size == (min(value.shape) if value.ndim == 2 else 1)
    again = levels.astype(np.float64) * scales
    assert (np.abs(again - value) <= scales.astype(np.float64)).all()
    assert (again[value == 0] == 0).all()
    tiny = 2**8 * float(np.finfo(np.float32).smallest_subnormal)  # where a scale has few digits or one
    most = np.abs(value).max(initial=0)
    assert np.abs(again).max(initial=0) <= most * (1 + 2.0**-22) + tiny
    assert dequantise(levels, scales).shape == value.shape


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Hospital, bytes]:
    north = hospital(tmp_path_factory.mktemp("north"))
    return north, north.releases()["scale/roi"]


@settings(deadline=None)
@given(noise=st.binary(max_size=120), how=spoil)
def test_hostile_releases_are_refused(
    sealed: tuple[Hospital, bytes], noise: bytes, how: tuple[int, int, int]
) -> None:
    """Catches any error but ReleaseRefused, and a changed release that passes.

    The last case is signed by the hospital itself over spoiled contents, so it reaches the checks behind the
    signature; there only the values may differ and pass.
    """
    north, good = sealed
    expected = north.expectation()
    payload = spoiled(good[len(MAGIC) + 64 :], *how)
    signed = MAGIC + north.key.sign(payload, Purpose.RELEASE) + payload
    for data in (noise, MAGIC + bytes(64) + noise, spoiled(good, *how), signed):
        try:
            release = check(data, expected)
        except ReleaseRefused:
            continue
        assert data in (good, signed)
        assert (release.campaign, release.round, release.plan_hash) == ("spring", 1, PLAN.hash)
        assert {name: value.shape for name, value in release.tensors.items()} == SHAPES["scale/roi"]
        assert all(np.isfinite(value).all() for value in release.tensors.values())


# A header field's value, from nearly right to absurd.
odd = json_values | st.sampled_from(
    [10**400, -(10**400), 2**63, "0" * 64, "north", PLAN.event().to_dict(), {}]
)
fields = st.sampled_from([field.name for field in dataclasses.fields(Header)])


@settings(max_examples=300)
@given(changes=st.dictionaries(fields, odd, min_size=1, max_size=3))
def test_releases_with_odd_headers_are_refused(
    sealed: tuple[Hospital, bytes], changes: dict[str, object]
) -> None:
    """Catches any error but ReleaseRefused on a header that the hospital itself signed, and a binding that is
    not checked: only what nobody can know beforehand may differ.
    """
    north, good = sealed
    parts, metadata = tensors.deserialize(good[len(MAGIC) + 64 :], len(good))
    was = json.loads(metadata)
    header = canonical.encode({**was, **changes}).decode()
    payload = tensors.serialize(parts, header)
    try:
        check(MAGIC + north.key.sign(payload, Purpose.RELEASE) + payload, north.expectation())
    except ReleaseRefused:
        return
    differs = {name for name, value in changes.items() if was[name] != value}
    assert differs <= {"code_hash", "nonce", "reservation", "noise_variance"}


@settings(max_examples=200)
@given(
    parts=st.dictionaries(
        st.sampled_from([f"{kind}/{name}" for kind in "qs" for name in SHAPES["scale/roi"]]),
        arrays | hnp.arrays(np.int8, shapes),
        max_size=4,
    )
)
def test_releases_with_odd_tensors_are_refused(
    sealed: tuple[Hospital, bytes], parts: dict[str, NDArray[Any]]
) -> None:
    """Catches any error but ReleaseRefused on tensors of any shape and dtype under a good header."""
    north, good = sealed
    held, metadata = tensors.deserialize(good[len(MAGIC) + 64 :], len(good))
    payload = tensors.serialize({**held, **parts}, metadata)
    try:
        release = check(MAGIC + north.key.sign(payload, Purpose.RELEASE) + payload, north.expectation())
    except ReleaseRefused:
        return
    assert {name: value.shape for name, value in release.tensors.items()} == SHAPES["scale/roi"]


def test_keys_of_others_open_nothing(sealed: tuple[Hospital, bytes], tmp_path: Path) -> None:
    """Catches an expectation that takes any key for any name."""
    _, good = sealed
    stranger = keys.generate(tmp_path / "k").public
    with pytest.raises(ReleaseRefused, match="unknown-key"):
        check(good, Expectation(PLAN, {"north": stranger}, SHAPES, 10_000, math.inf))
