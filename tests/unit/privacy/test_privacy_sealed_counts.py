"""Sealed counts and their request: what may be sealed, what opens, what the egress guard lets through, hostile bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import canonical, keys
from privacy.codes import ReleaseFault
from privacy.egress import check_reply
from privacy.errors import EgressError, ReleaseRefused, SealError, SignatureInvalid, WireError
from privacy.evaluation import NoisedEvaluation
from privacy.keys import PublicKey, Purpose
from privacy.ledger.account import Reservation
from privacy.noised_counts import NoisedCounts, Scores, noised_counts
from privacy.policy import Policy
from privacy.randomness import RandomSource, SecureRandom, SeededRandom
from privacy.sealed_counts import CountsExpectation, open_counts, seal_counts
from tests.privacy_cases import ASKED, CODE, POLICY, Hospital, hospital

OFFERING: Policy = replace(POLICY, minimum_evaluation_noise=2.0)
TO = PublicKey(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))  # RFC 8032
PATIENTS: list[Scores] = [{kind: [1.0] for kind in ASKED.kinds}] * 30


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return hospital(tmp_path_factory.mktemp("north"))


@pytest.fixture(scope="module")
def reservation(north: Hospital) -> Reservation:
    return north.ledger().reserve(ASKED, OFFERING, CODE)


def counts(asked: NoisedEvaluation = ASKED, random: RandomSource | None = None) -> NoisedCounts:
    return noised_counts(asked.kinds, PATIENTS, asked.noise_multiplier, random or SecureRandom())


@pytest.fixture(scope="module")
def sealed(north: Hospital, reservation: Reservation) -> bytes:
    return seal_counts(counts(), reservation, ASKED, "north", north.key)


def expectation(north: Hospital, asked: NoisedEvaluation = ASKED) -> CountsExpectation:
    return CountsExpectation(asked, {"north": north.key.public}, frozenset({CODE}))


def test_what_was_sealed_opens(north: Hospital, reservation: Reservation, sealed: bytes) -> None:
    """Catches a field that is lost on the way, and an answer that nothing paid for."""
    found = open_counts(sealed, expectation(north))
    assert (found.hospital, found.request, found.kinds) == ("north", ASKED.hash, ASKED.kinds)
    assert (found.reservation, found.code_hash, found.event) == (reservation.hash, CODE, ASKED.event())
    assert found.noise_std == pytest.approx(ASKED.noise_std)
    assert all(-30 < count < 90 for count in found.right)


@pytest.mark.parametrize(
    ("asked", "made", "says"),
    [
        (replace(ASKED, round=2), counts, "another request"),
        (ASKED, lambda: counts(replace(ASKED, noise_multiplier=3.0)), "another mechanism"),
        (ASKED, lambda: counts(replace(ASKED, kinds=ASKED.kinds[:1])), "other kinds"),
        (ASKED, lambda: counts(random=SeededRandom(1)), "seeded generator"),
    ],
    ids=["another request", "less noise", "other kinds", "a seed"],
)
def test_only_what_was_paid_for_is_sealed(
    north: Hospital,
    reservation: Reservation,
    asked: NoisedEvaluation,
    made: Callable[[], NoisedCounts],
    says: str,
) -> None:
    """Catches counts with other noise, of other questions, or with noise that can be taken off."""
    with pytest.raises(SealError, match=says):
        seal_counts(made(), reservation, asked, "north", north.key)


def test_another_hospitals_key_and_other_code_are_refused_by_name(
    north: Hospital, sealed: bytes, tmp_path: Path
) -> None:
    """Catches an answer in another's name, under a key that is not enrolled, or by code that is not trusted."""
    stranger = keys.generate(tmp_path / "stranger.key").public
    for expected, fault in (
        (CountsExpectation(ASKED, {"south": north.key.public}), ReleaseFault.UNKNOWN_HOSPITAL),
        (CountsExpectation(ASKED, {"north": stranger}), ReleaseFault.UNKNOWN_KEY),
        (
            CountsExpectation(ASKED, {"north": north.key.public}, frozenset({"0" * 64})),
            ReleaseFault.WRONG_CODE,
        ),
        (expectation(north, replace(ASKED, round=2)), ReleaseFault.WRONG_PLAN),
    ):
        with pytest.raises(ReleaseRefused) as caught:
            open_counts(sealed, expected)
        assert caught.value.code == fault


@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(1, 255))
def test_hostile_bytes_are_refused_and_nothing_else(
    north: Hospital, sealed: bytes, rubbish: bytes, at: int, flip: int
) -> None:
    """Catches a parser that falls over, and a changed byte that passes."""
    changed = bytearray(sealed)
    changed[at % len(sealed)] ^= flip
    for data in (rubbish, sealed[:64] + rubbish, bytes(changed), sealed + rubbish[:1] + b" "):
        with pytest.raises(ReleaseRefused):
            open_counts(data, expectation(north))


def test_the_guard_lets_counts_out_in_answer_to_their_request_only(north: Hospital, sealed: bytes) -> None:
    """Catches counts without a request, of another one, with company, or altered, on their way out."""

    def leave(reply: dict[str, bytes], expected: object) -> Any:
        return check_reply(
            reply,
            OFFERING,
            limit=100_000,
            epsilon=1.0,
            destination=TO,
            expected=expected,  # type: ignore[arg-type]
        )

    (record,) = leave({"counts": sealed}, expectation(north))
    assert (record.name, record.sha256) == ("counts", canonical.digest(sealed))
    for reply, expected in (
        ({"counts": sealed}, None),
        ({"counts": sealed}, north.expectation()),
        ({"counts": sealed}, expectation(north, replace(ASKED, round=2))),
        ({"counts": sealed, "code": b"busy"}, expectation(north)),
        ({"counts": sealed[:-1]}, expectation(north)),
        ({"counts": b'{"patients":31}'}, expectation(north)),
        ({"release/scale/roi": sealed}, expectation(north)),
    ):
        with pytest.raises(EgressError):
            leave(reply, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"campaign": "Spring"},
        {"campaign": 3},
        {"round": -1},
        {"round": True},
        {"round": 10**9},
        {"point": "end"},
        {"point": []},
        {"kinds": []},
        {"kinds": "roi"},
        {"kinds": [["roi"]]},
        {"kinds": [["roi", []]]},
        {"kinds": [["roi", "grading"]]},
        {"kinds": [["wsi", "vqa"], ["roi", "vqa"]]},
        {"kinds": [["wsi", "vqa"], ["wsi", "vqa"]]},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": 4},
        {"noise_multiplier": "4"},
        {"base_hash": "abc"},
        {"experts_hash": {"task/grading": CODE}},
        {"experts_hash": []},
        {"forms": {}},
        {"forms": {"scale/roi": {"rank": 0, "alpha": 8.0, "layers": ["q_proj"]}}},
        {"forms": {"scale/roi": {"rank": 4, "alpha": 0.0, "layers": ["q_proj"]}}},
        {"forms": [4, 8.0]},
        {"expert_seed": -1},
        {"hospital": "north"},
    ],
    ids=str,
)
def test_a_malformed_request_is_refused(changes: dict[str, object]) -> None:
    """Catches an agent that acts on a request which says less, or other things, than it must."""
    fields = canonical.decode(ASKED.to_bytes(), 1 << 16)
    assert NoisedEvaluation.from_bytes(canonical.encode(fields)) == ASKED
    with pytest.raises(WireError):
        NoisedEvaluation.from_bytes(canonical.encode({**fields, **changes}))


def test_a_request_is_the_coordinators_or_nobodys(tmp_path: Path) -> None:
    """Catches a plan's signature that passes for a request's."""
    coordinator = keys.generate(tmp_path / "coordinator.key")
    assert NoisedEvaluation.open(ASKED.to_bytes(), ASKED.sign(coordinator), coordinator.public) == ASKED
    with pytest.raises(SignatureInvalid):
        NoisedEvaluation.open(
            ASKED.to_bytes(), coordinator.sign(ASKED.to_bytes(), Purpose.PLAN), coordinator.public
        )
