"""The whole protocol in one process: the sum is exact, whoever is lost; too few learn nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from privacy.codes import SecaggFault
from privacy.errors import CheckpointError, SecaggRefused
from privacy.secagg import hospital, server
from privacy.secagg.grid import to_words
from privacy.secagg.hospital_state import Advertised, Agreed, Dealt, Masked, from_bytes, to_bytes
from tests.secagg_cases import STEPS, Round, key_of, session_of


def exact(played: Round, total: server.Total) -> bool:
    words = to_words(played.plain(total.hospitals), played.session.bits)
    return total.words.dtype == words.dtype and bool((total.words == words).all())


@pytest.mark.parametrize("hospitals", [3, 4, 10])
@pytest.mark.parametrize("bits", [32, 64])
def test_the_sum_is_the_plain_sum(hospitals: int, bits: int) -> None:
    """Catches a mask that stays, one that is taken off twice, and arithmetic of another width."""
    played = Round(session_of(hospitals, bits=bits))
    total = played.run()
    assert total.hospitals == tuple(played.session.roll)
    assert exact(played, total)


@pytest.mark.parametrize("step", STEPS)
def test_two_of_seven_may_be_lost_at_any_step(step: str) -> None:
    """Catches a drop that costs the round, or whose masks stay in: pairs lost before this answer (t is 5), everybody
    once as the first and once as the second of its pair.
    """
    session = session_of(7)
    names = list(session.roll)
    assert session.threshold == 5
    for first, second in zip(names, names[2:] + names[:2], strict=True):
        total = (played := Round(session, dict.fromkeys((first, second), step))).run()
        gone = {first, second} if step in ("advertise", "deal", "mask") else set()
        assert total.hospitals == tuple(name for name in names if name not in gone)
        assert exact(played, total)


def test_hospitals_may_be_lost_at_different_steps() -> None:
    """Catches a step that takes the first one's loss for everybody's: two of seven, in every order of the steps."""
    session = session_of(7)
    for steps in itertools.product(STEPS, repeat=2):
        played = Round(session, dict(zip(("h001", "h006"), steps, strict=True)))
        assert exact(played, played.run())


@pytest.mark.parametrize("step", STEPS)
def test_fewer_than_the_threshold_end_the_round(step: str) -> None:
    """Catches a server that opens a sum of too few, and a count of something else than of who answered."""
    session = session_of(7)
    played = Round(session, dict.fromkeys(list(session.roll)[:3], step))
    with pytest.raises(SecaggRefused) as refused:
        played.run()
    assert refused.value.code is SecaggFault.TOO_FEW


def test_hospitals_refuse_what_too_few_answered() -> None:
    """Catches a hospital that leaves the counting to the server: each answer asks for the threshold by itself."""
    session = session_of(7)
    few, key = session.threshold - 1, key_of("h000")
    played = Round(session)
    adverts = list(played.advertised().shown.values())
    with pytest.raises(SecaggRefused, match="too-few"):
        hospital.deal(played.at("h000", Advertised), adverts[:few], key)
    deals = list(played.dealt().shown.values())
    with pytest.raises(SecaggRefused, match="too-few"):
        hospital.mask(played.at("h000", Dealt), deals[:few], played.shares["h000"], key)
    played.masked()
    with pytest.raises(SecaggRefused, match="too-few"):
        hospital.agree(played.at("h000", Masked), list(session.roll)[:few], key)
    statements = list(played.agreed().shown.values())
    with pytest.raises(SecaggRefused, match="too-few"):
        hospital.reveal(played.at("h000", Agreed), statements[:few], key)


def test_agents_killed_after_each_answer_go_on() -> None:
    """Catches a state that does not hold all that the next step needs."""
    played = Round(session_of(5), {"h001": "mask"}, killed=True)
    assert exact(played, played.run())


def test_asked_the_same_again_a_hospital_answers_the_same() -> None:
    """Catches a second deal, statement or opening of other bytes, which could open more than one answer would."""
    played = Round(session_of(4))
    before = played.agreed()
    name, statements = "h002", list(before.shown.values())
    state, key = played.at(name, Agreed), key_of("h002")
    again, said = hospital.agree(state, before.survivors, key)
    assert again == state
    assert said == before.shown[name]
    assert hospital.reveal(state, statements, key) == hospital.reveal(state, statements[::-1], key)

    played = Round(session_of(4))
    shown = played.dealt().shown
    dealt = played.at(name, Dealt)
    assert hospital.deal(dealt, list(dealt.adverts.values()), key) == (dealt, shown[name])


def test_a_masked_vector_is_uniform() -> None:
    """Catches a mask that is short, repeats, or leaves bits bare: bytes of what the server sees, at level 1e-7 each.

    30,000 words of a vector that is all zero but its noise. Were one byte of each word bare (zero in nine of ten), its
    statistic would be a thousand times the limit.
    """
    session = session_of(3, size=30_000)
    played = Round(session)
    before = played.dealt()
    _, answer = hospital.mask(
        played.at("h000", Dealt), list(before.shown.values()), played.shares["h000"], key_of("h000")
    )
    sent = np.frombuffer(answer[-4 * session.size :], np.uint8).reshape(-1, 4)
    for byte in sent.T:
        counts = np.bincount(byte, minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-7
    bare = played.shares["h000"].whole.astype("<u4").view(np.uint8).reshape(-1, 4)
    assert stats.chisquare(np.bincount(bare[:, 3], minlength=256)).pvalue == 0.0


def test_two_rounds_mask_the_same_share_differently() -> None:
    """Catches a seed that does not change from round to round: the difference of two answers would be bare."""
    first, second = Round(session_of(3)), Round(session_of(3, round=8))
    second.shares = first.shares
    totals = first.masked().total, second.masked().total
    assert (totals[0] != totals[1]).mean() > 0.9  # equal words are one in four billion


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: data.replace(b'"hospital"', b'"hospitaI"')]
)
def test_a_damaged_state_is_refused(spoil: object) -> None:
    """Catches a half-written file that is taken for a place in the round."""
    played = Round(session_of(3))
    played.advertised()
    with pytest.raises(CheckpointError, match="secure aggregation"):
        from_bytes(spoil(to_bytes(played.states["h001"])))  # type: ignore[operator]


def test_no_state_shows_a_secret() -> None:
    """Catches a secret in a log line."""
    played = Round(session_of(3))
    played.dealt()
    state = played.at("h001", Dealt)
    shown = repr(state)
    secrets = (state.advertised.sealing, state.advertised.masking, state.advertised.seed, *state.own)
    assert not any(secret.hex() in shown or repr(secret) in shown for secret in secrets)
