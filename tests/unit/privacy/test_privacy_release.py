"""A release is bound to its round and refused by name otherwise: the adversarial table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from privacy import canonical, keys, tensors
from privacy.codes import ReleaseFault
from privacy.errors import LedgerError, ReleaseRefused, SealError
from privacy.keys import SIGNATURE_BYTES, Purpose
from privacy.randomness import SeededRandom
from privacy.release import MAGIC, Expectation, check, seal
from tests.privacy_cases import (
    CODE,
    DISTRIBUTED,
    MECHANISM,
    PLAN,
    POLICY,
    SHAPES,
    Hospital,
    deltas,
    hospital,
    round_of,
)

PAYLOAD = len(MAGIC) + SIGNATURE_BYTES


@pytest.fixture
def north(tmp_path: Path) -> Hospital:
    return hospital(tmp_path)


def test_a_release_says_what_it_is_bound_to_and_keeps_the_values(north: Hospital) -> None:
    """Catches a binding that is not signed in, and quantisation coarser than a step of 1/127."""
    made = deltas()
    reservation = north.ledger().reserve(PLAN, POLICY, CODE)
    for expert, delta in made.items():
        release = check(seal(delta, reservation, PLAN, "north", north.key), north.expectation())
        assert (release.hospital, release.campaign, release.round) == ("north", "spring", 1)
        assert (release.plan_hash, release.base_hash, release.code_hash) == (PLAN.hash, PLAN.base_hash, CODE)
        assert (release.expert, release.parent_hash) == (expert, PLAN.experts_hash[expert])
        assert (release.key, release.event) == (north.key.public.fingerprint, PLAN.event())
        assert release.noise_std == pytest.approx(delta.noise_std) == pytest.approx(0.01)
        assert release.reservation == reservation.hash
        assert release.shapes == SHAPES[expert]
        for name, value in delta.tensors.items():
            assert release.tensors[name].dtype == np.float32
            assert np.abs(release.tensors[name] - value).max() <= np.abs(value).max() / 126.9


def test_no_two_releases_are_alike(north: Hospital) -> None:
    """Catches a nonce that is fixed or taken from the round: replays could not be told, and every release's
    values would be rounded by one and the same draw.
    """
    reservation = north.ledger().reserve(PLAN, POLICY, CODE)
    delta = deltas()["scale/roi"]
    read = [check(seal(delta, reservation, PLAN, "north", north.key), north.expectation()) for _ in range(4)]
    assert len({release.nonce for release in read}) == 4
    assert len({release.tensors["a.lora_B"].tobytes() for release in read}) == 4


def test_a_release_is_small(north: Hospital) -> None:
    """Catches releases that travel as float32: a LoRA matrix takes about a byte a value."""
    values = {"q/x": np.zeros((4096, 16), np.int8), "s/x": np.zeros((1, 16), np.float32)}
    assert len(tensors.serialize(values, "")) < 1.01 * 4096 * 16


@dataclass(frozen=True)
class Attack:
    """Spoil a good release's bytes; or change its header and tensors and sign it again."""

    name: str
    code: ReleaseFault
    spoil: Callable[[bytes, keys.PrivateKey], bytes] | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    drop: Sequence[str] = ()
    add: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __call__(self, data: bytes, key: keys.PrivateKey) -> bytes:
        if self.spoil is not None:
            return self.spoil(data, key)
        parts, metadata = tensors.deserialize(data[PAYLOAD:], len(data))
        parts = {name: value for name, value in {**parts, **self.add}.items() if name not in self.drop}
        header = canonical.encode({**json.loads(metadata), **self.header})
        return signed(tensors.serialize(parts, header.decode()), key)


def signed(payload: bytes, key: keys.PrivateKey) -> bytes:
    """A payload of any content, with the hospital's own good signature."""
    return MAGIC + key.sign(payload, Purpose.RELEASE) + payload


def flipped(data: bytes, at: int) -> bytes:
    """One bit changed."""
    spoiled = bytearray(data)
    spoiled[at] ^= 1
    return bytes(spoiled)


def as_ledger_entry(data: bytes, key: keys.PrivateKey) -> bytes:
    """Signed by the right key for another purpose."""
    return MAGIC + key.sign(data[PAYLOAD:], Purpose.LEDGER) + data[PAYLOAD:]


def by_a_stranger(data: bytes, key: keys.PrivateKey) -> bytes:
    """The right name and the right key's fingerprint, signed with another key."""
    return signed(data[PAYLOAD:], keys.PrivateKey(Ed25519PrivateKey.generate()))


F = ReleaseFault
EVENT = PLAN.event().to_dict()
TAKEN = canonical.digest(b"a nonce that was seen")
OTHER = canonical.digest(b"another")
Q, S = "q/a.lora_B", "s/a.lora_B"
ALL = [f"{kind}/{name}" for kind in "qs" for name in SHAPES["scale/roi"]]
SCALE = np.ones((1, 4), np.float32)
FULL = np.full((12, 4), 127, np.int8)
ATTACKS = [
    Attack("too-large", F.TOO_LARGE, lambda data, key: data + bytes(10_000)),
    Attack("empty", F.NOT_A_RELEASE, lambda data, key: b""),
    Attack("magic-only", F.NOT_A_RELEASE, lambda data, key: MAGIC + bytes(SIGNATURE_BYTES)),
    Attack("last-versions-magic", F.NOT_A_RELEASE, lambda data, key: b"FPR1" + data[4:]),
    Attack("a-pickle", F.NOT_A_RELEASE, lambda data, key: b"\x80\x04." + data),
    Attack("plain-state", F.NOT_A_RELEASE, lambda data, key: signed(tensors.encode({}), key)),
    Attack("cut-in-header", F.NOT_A_RELEASE, lambda data, key: data[: PAYLOAD + 50]),
    Attack("cut-then-signed", F.NOT_A_RELEASE, lambda data, key: signed(data[PAYLOAD:-1], key)),
    Attack("cut-at-end", F.BAD_SIGNATURE, lambda data, key: data[:-1]),
    Attack("bytes-after", F.BAD_SIGNATURE, lambda data, key: data + b"x"),
    Attack("value-flipped", F.BAD_SIGNATURE, lambda data, key: flipped(data, -1)),
    Attack("signature-flipped", F.BAD_SIGNATURE, lambda data, key: flipped(data, len(MAGIC))),
    Attack("signed-as-ledger-entry", F.BAD_SIGNATURE, as_ledger_entry),
    Attack("more-fields", F.NOT_A_RELEASE, header={"patients": 31}),
    Attack("float-round", F.NOT_A_RELEASE, header={"round": 1.0}),
    Attack("bool-round", F.NOT_A_RELEASE, header={"round": True}),
    Attack("list-for-hospital", F.NOT_A_RELEASE, header={"hospital": ["north"]}),
    Attack("negative-noise", F.NOT_A_RELEASE, header={"noise_variance": -1.0}),
    Attack("whole-noise", F.NOT_A_RELEASE, header={"noise_variance": 1}),
    Attack("last-versions-noise", F.NOT_A_RELEASE, header={"noise_std": 1.0}),
    Attack("short-nonce", F.NOT_A_RELEASE, header={"nonce": "00"}),
    Attack("an-epsilon-for-event", F.NOT_A_RELEASE, header={"event": 8.0}),
    Attack("unknown-mechanism", F.NOT_A_RELEASE, header={"event": {**EVENT, "mechanism": "laplace"}}),
    Attack("huge-noise", F.NOT_A_RELEASE, header={"event": {**EVENT, "noise_multiplier": 10**400}}),
    Attack("per-slide", F.NOT_A_RELEASE, header={"event": {**EVENT, "unit": "slide"}}),
    Attack("less-spent", F.WRONG_EVENT, header={"event": {**EVENT, "steps": 1}}),
    Attack("more-noise-claimed", F.WRONG_EVENT, header={"event": {**EVENT, "noise_multiplier": 2.0}}),
    Attack("shapes-as-list", F.NOT_A_RELEASE, header={"shapes": [[12, 4]]}),
    Attack(
        "fractional-shape", F.NOT_A_RELEASE, header={"shapes": {"a.lora_B": [12, 4.0], "b.lora_B": [5, 4]}}
    ),
    Attack("negative-shape", F.NOT_A_RELEASE, header={"shapes": {"a.lora_B": [-12, -4], "b.lora_B": [5, 4]}}),
    Attack("huge-shape", F.WRONG_SHAPE, header={"shapes": {"a.lora_B": [10**300, 4], "b.lora_B": [5, 4]}}),
    Attack("no-reservation", F.NOT_A_RELEASE, header={"reservation": "none"}),
    Attack("unknown-hospital", F.UNKNOWN_HOSPITAL, header={"hospital": "west"}),
    Attack("another-hospitals-name", F.UNKNOWN_KEY, header={"hospital": "south"}),
    Attack("a-key-not-enrolled", F.UNKNOWN_KEY, header={"key": "0" * 16}),
    Attack("signed-by-a-stranger", F.BAD_SIGNATURE, by_a_stranger),
    Attack("other-campaign", F.WRONG_CAMPAIGN, header={"campaign": "autumn"}),
    Attack("stale", F.WRONG_ROUND, header={"round": 0}),
    Attack("from-the-future", F.WRONG_ROUND, header={"round": 2}),
    Attack("other-plan", F.WRONG_PLAN, header={"plan_hash": OTHER}),
    Attack("other-base", F.WRONG_BASE, header={"base_hash": OTHER}),
    Attack("untrusted-code", F.WRONG_CODE, header={"code_hash": OTHER}),
    Attack("expert-not-in-round", F.UNKNOWN_EXPERT, header={"expert": "task/vqa"}),
    Attack("expert-unheard-of", F.UNKNOWN_EXPERT, header={"expert": "scale/mri"}),
    Attack("other-parent", F.WRONG_PARENT, header={"parent_hash": OTHER}),
    Attack("taken-before", F.REPLAYED, header={"nonce": TAKEN}),
    Attack("lower-rank", F.LOWER_RANK, header={"shapes": {"a.lora_B": [12, 2], "b.lora_B": [5, 2]}}),
    Attack("no-tensors", F.NOT_A_RELEASE, drop=ALL),
    Attack("no-tensors-and-says-so", F.WRONG_SHAPE, drop=ALL, header={"shapes": {}}),
    Attack("a-tensor-more", F.NOT_A_RELEASE, add={"q/x": np.ones((9, 4), np.int8), "s/x": SCALE}),
    Attack("transposed", F.WRONG_SHAPE, add={Q: np.ones((4, 12), np.int8), S: SCALE.T}),
    Attack("scales-of-another-shape", F.WRONG_SHAPE, add={S: np.ones((12, 1), np.float32)}),
    Attack("scales-missing", F.NOT_A_RELEASE, drop=[S]),
    Attack("values-missing", F.NOT_A_RELEASE, drop=[Q]),
    Attack("float-values", F.WRONG_DTYPE, add={Q: np.ones((12, 4), np.float32)}),
    Attack("int8-scales", F.WRONG_DTYPE, add={S: np.ones((1, 4), np.int8)}),
    Attack("stowaway", F.NOT_A_RELEASE, add={"slide": np.ones(9, np.int8)}),
    Attack("nan", F.NOT_FINITE, add={S: SCALE * np.nan}),
    Attack("inf", F.NOT_FINITE, add={S: SCALE * np.inf}),
    Attack("overflow", F.NOT_FINITE, add={S: SCALE * 3e38, Q: FULL}),
    Attack("huge", F.NORM_TOO_LARGE, add={S: SCALE * 1e30, Q: FULL}),
    Attack("boosted", F.NORM_TOO_LARGE, add={S: SCALE, Q: FULL}),
]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, keys.PrivateKey, Expectation]:
    """A good release, its key, and what the consortium expects: two hospitals, a bound on the norm."""
    home = hospital(tmp_path_factory.mktemp("north"))
    south = keys.generate(home.folder / "south.key")
    expected = replace(
        home.expectation(),
        hospitals={"north": home.key.public, "south": south.public},
        max_norm=1.0,
        code_hashes=frozenset({CODE}),
        taken=frozenset({TAKEN}),
    )
    return home.releases()["scale/roi"], home.key, expected


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_attack_is_refused_by_its_name(
    sealed: tuple[bytes, keys.PrivateKey, Expectation], attack: Attack
) -> None:
    """Catches a check that is missing, out of order, or that crashes instead of refusing."""
    data, key, expected = sealed
    check(data, expected)
    with pytest.raises(ReleaseRefused) as caught:
        check(attack(data, key), expected)
    assert caught.value.code is attack.code


def test_every_code_is_reached() -> None:
    """Catches a code that no check raises any more; two are told by the consortium's recipes (test_strategies_flower)."""
    by_recipe = {F.NORM_TOO_SMALL, F.WRONG_NOISE}
    assert {attack.code for attack in ATTACKS} == set(ReleaseFault) - by_recipe


def test_last_rounds_release_does_not_pass_for_this_rounds(north: Hospital) -> None:
    """Catches a replay: the very bytes of round 1, sent again in round 2."""
    with pytest.raises(ReleaseRefused) as caught:
        check(north.releases()["scale/roi"], north.expectation(round_of(2)))
    assert caught.value.code is ReleaseFault.WRONG_ROUND


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other-plan", "another plan"),
        ("fewer-steps", "took 1 steps"),
        ("less-noise", "took 2 steps"),
        ("expert", "does not train"),
        ("seeded", "seeded generator"),
    ],
)
def test_what_was_not_paid_for_is_not_sealed(north: Hospital, case: str, message: str) -> None:
    """Catches a delta of less noise or another plan leaving on a reservation that did not pay for it, and one
    whose noise can be computed again from a seed.
    """
    plan = replace(PLAN, experts=("scale/wsi",)) if case == "expert" else PLAN
    reservation = north.ledger().reserve(plan, POLICY, CODE)
    made = {
        "fewer-steps": lambda: deltas(steps=1),
        "less-noise": lambda: deltas(replace(MECHANISM, noise_multiplier=0.6)),
        "seeded": lambda: deltas(random=SeededRandom(0)),
    }.get(case, deltas)()
    plan = round_of(2) if case == "other-plan" else plan
    with pytest.raises(SealError, match=message):
        seal(made["scale/roi"], reservation, plan, "north", north.key)


def test_a_diverged_delta_is_not_sealed(north: Hospital) -> None:
    """Catches NaN quantised to garbage."""
    made = deltas()["scale/roi"]
    made.tensors["a.lora_B"][0, 0] = math.nan
    with pytest.raises(SealError, match="lower the learning rate"):
        seal(made, north.ledger().reserve(PLAN, POLICY, CODE), PLAN, "north", north.key)


def test_nobody_else_makes_a_reservation(north: Hospital) -> None:
    """Catches a release sealed on a payment that stands in no ledger."""
    paid = north.ledger().reserve(PLAN, POLICY, CODE)
    with pytest.raises(LedgerError, match="nothing else has paid"):
        replace(paid, made_by=None)


def test_a_plan_under_distributed_trust_seals_no_release(north: Hospital) -> None:
    """Catches a hospital's own update leaving under a plan that charged for a share of a sum only."""
    policy = replace(POLICY, distributed_trust=True)
    reservation = north.ledger().reserve(DISTRIBUTED, policy, CODE)
    assert reservation.event == DISTRIBUTED.event() != DISTRIBUTED.mechanism.event()
    with pytest.raises(SealError, match="share of a sum"):
        seal(deltas()["scale/roi"], reservation, DISTRIBUTED, "north", north.key)
