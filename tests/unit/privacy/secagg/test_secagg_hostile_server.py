"""Hostile acts by the server of a secure aggregation, one row each: each hospital refuses by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import SealError, SecaggRefused
from privacy.keys import PublicKey, Purpose
from privacy.randomness import SeededRandom
from privacy.secagg import hospital
from privacy.secagg.hospital_state import Advertised, Agreed, Dealt, Masked
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import add_share
from privacy.secagg.terms import least_threshold
from tests.secagg_acts import KEY, ME, OTHER, THIRD, Act, old, resigned, swapped
from tests.secagg_cases import Round, key_of, roll_of, session_of, share_of


def show_adverts(change: Callable[[Round, dict[str, bytes]], list[bytes]]) -> None:
    played = Round(session_of())
    shown = dict(played.advertised().shown)
    hospital.deal(played.at(ME, Advertised), change(played, shown), KEY)


def show_deals(change: Callable[[Round, dict[str, bytes]], list[bytes]]) -> None:
    played = Round(session_of())
    shown = dict(played.dealt().shown)
    hospital.mask(played.at(ME, Dealt), change(played, shown), played.shares[ME], KEY)


def show_statements(change: Callable[[Round, dict[str, bytes]], list[bytes]]) -> None:
    played = Round(session_of())
    shown = dict(played.agreed().shown)
    hospital.reveal(played.at(ME, Agreed), change(played, shown), KEY)


def fake_on_the_roll() -> None:
    hospital.advertise(session_of(6), ME, KEY, roll_of(5), 1)


def swapped_release_key() -> None:
    enrolled = {**roll_of(5), OTHER: key_of("somebody").public}
    hospital.advertise(session_of(), ME, KEY, enrolled, 1)


def off_the_roll() -> None:
    others: dict[str, PublicKey] = {name: key for name, key in roll_of(6).items() if name != ME}
    hospital.advertise(session_of(roll=others), ME, KEY, roll_of(6), 1)


def own_key_taken() -> None:
    session_of(roll={**roll_of(5), "h005": key_of(OTHER).public})


def fewer_colluding() -> None:
    hospital.advertise(session_of(), ME, KEY, roll_of(5), 2)


def low_threshold() -> None:
    Session.from_bytes(session_of(6, threshold=5).to_bytes().replace(b'"threshold":5', b'"threshold":4'))


def two_sets(lost: tuple[str, ...] = (OTHER,)) -> None:
    played = Round(session_of())
    played.agreed()
    fewer = [name for name in played.session.roll if name not in lost]
    hospital.agree(played.at(ME, Agreed), fewer, KEY)


def survivors(change: Callable[[list[str]], list[str]]) -> None:
    played = Round(session_of())
    played.masked()
    hospital.agree(played.at(ME, Masked), change(list(played.session.roll)), KEY)


def split_survivors() -> None:
    """Tells half that OTHER is in, to get its seed, and half that it dropped out, to get its key."""
    played = Round(session_of(6))
    everybody = list(played.session.roll)
    played.masked()
    without = [name for name in everybody if name != OTHER]
    said = [
        hospital.agree(played.at(name, Masked), everybody if place % 2 else without, key_of(name))
        for place, name in enumerate(without)
    ]
    mine, statements = said[0][0], [answer for _, answer in said]
    hospital.reveal(mine, statements, KEY)


def other_deals_to_others() -> None:
    """Leaves THIRD's deal out for one hospital only: their views differ, so nobody signs for one set."""
    played = Round(session_of())
    before = played.dealt()
    deals = dict(before.shown)
    for name in played.session.roll:
        shown = [data for dealer, data in deals.items() if (name, dealer) != (ME, THIRD)]
        answer = hospital.mask(played.at(name, Dealt), shown, played.shares[name], key_of(name))
        played.keep(*answer)
    names = [name for name in played.session.roll if name != THIRD]
    said = [hospital.agree(played.at(name, Masked), names, key_of(name)) for name in names]
    hospital.reveal(said[0][0], [answer for _, answer in said], KEY)


def noise_of_more() -> None:
    played = Round(session_of())
    shown = list(played.dealt().shown.values())
    share = share_of(played.session, honest=played.session.threshold)  # and one of them may collude
    hospital.mask(played.at(ME, Dealt), shown, share, KEY)


def words_too_short() -> None:
    played = Round(session_of())
    shown = list(played.dealt().shown.values())
    share = share_of(played.session, step=2.0**-20, most_patients=1000)
    hospital.mask(played.at(ME, Dealt), shown, share, KEY)


def another_size() -> None:
    played = Round(session_of())
    shown = list(played.dealt().shown.values())
    hospital.mask(played.at(ME, Dealt), shown, share_of(session_of(size=41)), KEY)


BY_SERVER = [
    Act("a made-up hospital on the roll", fake_on_the_roll, SecaggFault.UNKNOWN_HOSPITAL),
    Act("a hospital's release key swapped on the roll", swapped_release_key, SecaggFault.UNKNOWN_KEY),
    Act("a roll without the hospital that is asked", off_the_roll, SecaggFault.LEFT_OUT),
    Act("one key under two names", own_key_taken, SecaggFault.REPEATED),
    Act("terms that bear fewer colluding than the policy asks", fewer_colluding, SecaggFault.THRESHOLD),
    Act("two thirds as the threshold", low_threshold, SecaggFault.THRESHOLD),
    Act(
        "an advert swapped for one of its own making",
        lambda: show_adverts(
            lambda played, shown: swapped(
                shown, OTHER, resigned(shown[OTHER], Purpose.SECAGG_ADVERT, "somebody")
            )
        ),
        SecaggFault.BAD_SIGNATURE,
    ),
    Act(
        "a hospital's advert of an old round",
        lambda: show_adverts(lambda played, shown: swapped(shown, OTHER, old().advertised().shown[OTHER])),
        SecaggFault.WRONG_SESSION,
    ),
    Act(
        "an advert of a hospital off the roll",
        lambda: show_adverts(
            lambda played, shown: [
                *shown.values(),
                resigned(shown[OTHER], Purpose.SECAGG_ADVERT, "somebody", hospital="somebody"),
            ]
        ),
        SecaggFault.UNKNOWN_HOSPITAL,
    ),
    Act(
        "an advert twice",
        lambda: show_adverts(lambda played, shown: [*shown.values(), shown[OTHER]]),
        SecaggFault.REPEATED,
    ),
    Act(
        "the hospital's own advert left out",
        lambda: show_adverts(lambda played, shown: [data for name, data in shown.items() if name != ME]),
        SecaggFault.LEFT_OUT,
    ),
    Act(
        "a deal of an old round",
        lambda: show_deals(lambda played, shown: swapped(shown, OTHER, old().dealt().shown[OTHER])),
        SecaggFault.WRONG_SESSION,
    ),
    Act(
        "a deal twice",
        lambda: show_deals(lambda played, shown: [*shown.values(), shown[OTHER]]),
        SecaggFault.REPEATED,
    ),
    Act(
        "a deal among other keys",
        lambda: show_deals(
            lambda played, shown: swapped(
                shown, OTHER, resigned(shown[OTHER], Purpose.SECAGG_DEAL, OTHER, view=canonical.digest(b""))
            )
        ),
        SecaggFault.WRONG_VIEW,
    ),
    Act(
        "the hospital's own deal left out",
        lambda: show_deals(lambda played, shown: [data for name, data in shown.items() if name != ME]),
        SecaggFault.LEFT_OUT,
    ),
    Act("a second set of survivors after the first", two_sets, SecaggFault.CONFLICT),
    Act(
        "survivors without the hospital that is asked",
        lambda: survivors(lambda names: names[1:]),
        SecaggFault.LEFT_OUT,
    ),
    Act("a survivor twice", lambda: survivors(lambda names: [*names, OTHER]), SecaggFault.REPEATED),
    Act(
        "a survivor that dealt nothing",
        lambda: survivors(lambda names: [*names, "h005"]),
        SecaggFault.UNKNOWN_HOSPITAL,
    ),
    Act("both shares of one hospital, by two sets of survivors", split_survivors, SecaggFault.WRONG_VIEW),
    Act("other deals for one hospital than for the rest", other_deals_to_others, SecaggFault.WRONG_VIEW),
    Act(
        "one signature under the survivors twice",
        lambda: show_statements(lambda played, shown: [*shown.values(), shown[OTHER]]),
        SecaggFault.REPEATED,
    ),
    Act(
        "a signature of an old round",
        lambda: show_statements(lambda played, shown: swapped(shown, OTHER, old().agreed().shown[OTHER])),
        SecaggFault.WRONG_SESSION,
    ),
    Act(
        "a signature made for another step",
        lambda: show_statements(
            lambda played, shown: swapped(shown, OTHER, resigned(shown[OTHER], Purpose.SECAGG_ADVERT, OTHER))
        ),
        SecaggFault.BAD_SIGNATURE,
    ),
    Act("terms that leave fewer honest than the noise counts on", noise_of_more, SecaggFault.WRONG_NOISE),
    Act("words in which the sum does not fit", words_too_short, SecaggFault.WRONG_SHAPE),
    Act("a vector of another size", another_size, SecaggFault.WRONG_SHAPE),
]


@pytest.mark.parametrize("row", BY_SERVER, ids=lambda row: row.what)
def test_a_hospital_refuses_by_name(row: Act) -> None:
    """Catches each row's act getting an answer, or another name than its own."""
    with pytest.raises(SecaggRefused) as refused:
        row.act()
    assert refused.value.code is row.code


def test_a_share_of_seeded_noise_is_not_masked() -> None:
    """Catches noise that whoever knows the seed takes off again."""
    played = Round(session_of())
    shown = list(played.dealt().shown.values())
    honest = played.shares[ME]
    seeded = add_share(honest.whole.astype(float), honest.noise, SeededRandom(0))
    with pytest.raises(SealError, match="seeded"):
        hospital.mask(played.at(ME, Dealt), shown, seeded, KEY)


def test_thresholds_keep_two_sets_of_survivors_apart() -> None:
    """Catches a bound that lets two sets each find t signers: 2t > n + colluding and t > 2n/3, at the edge."""
    for n in range(3, 101):
        for colluding in (0, 1, n // 3, n // 2):
            t = least_threshold(n, colluding)
            if t > n:
                continue
            session_of(n, threshold=t, colluding=colluding)
            assert 3 * t > 2 * n
            assert 2 * t > n + colluding
            with pytest.raises(SecaggRefused, match="threshold"):
                session_of(n, threshold=t - 1, colluding=colluding)
