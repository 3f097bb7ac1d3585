"""Hostile acts by a hospital in a secure aggregation, one row each: the server refuses by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import SecaggRefused
from privacy.secagg import hospital, pairs, server, shamir
from privacy.secagg.hospital_state import Agreed, Dealt
from privacy.secagg.masked_input import MaskedInput
from privacy.secagg.messages import Advert, Deal, Opening, Survivors
from privacy.secagg.session import Session
from tests.secagg_acts import KEY, ME, OTHER, THIRD, Act, old
from tests.secagg_cases import Round, key_of, session_of


def advert(**changes: object) -> Advert:
    fields: dict[str, object] = {
        "hospital": OTHER,
        "sealing": pairs.public_of(pairs.new_secret()),
        "masking": pairs.public_of(pairs.new_secret()),
        "seed_hash": canonical.digest(b"seed"),
    }
    return Advert(**{**fields, **changes})  # type: ignore[arg-type]


def send_advert(data: Callable[[Session], bytes]) -> None:
    session = session_of()
    server.Adverts(session).add(data(session))


def stolen_key() -> None:
    state = Round(session_of(), {OTHER: "advertise"}).advertised()
    mine = state.opened[ME]
    state.add(advert(sealing=mine.sealing).sign(state.session, key_of(OTHER)))


def send_deal(change: Callable[[Round, Deal], bytes]) -> None:
    played = Round(session_of(), {OTHER: "mask"})
    shown = played.dealt()
    state = server.Deals(shown.session, shown.adverts, shown.view)
    state.add(change(played, shown.opened[OTHER]))


def send_input(change: Callable[[server.Inputs, bytes], bytes]) -> None:
    played = Round(session_of(), {OTHER: "mask"})
    before = played.dealt()
    _, answer = hospital.mask(
        played.at(OTHER, Dealt), list(before.shown.values()), played.shares[OTHER], key_of(OTHER)
    )
    inputs = before.close()
    inputs.add(change(inputs, answer))


def send_statement(change: Callable[[Survivors], Survivors]) -> None:
    state = Round(session_of(), {OTHER: "agree"}).masked().close()
    said = change(Survivors(OTHER, state.inputs.view, state.survivors))
    state.add(said.sign(state.inputs.session, key_of(OTHER)))


def send_opening(change: Callable[[Opening], Opening], lost: str = "h004") -> None:
    played = Round(session_of(), {lost: "mask"})
    before = played.agreed()
    data = hospital.reveal(played.at(OTHER, Agreed), list(before.shown.values()), key_of(OTHER))
    opened = change(Opening.open(data, played.session))
    before.close().add(opened.sign(played.session, key_of(OTHER)))


def twice(step: str) -> None:
    played = Round(session_of())
    if step == "advertise":
        adverts = played.advertised()
        adverts.add(adverts.shown[OTHER])
    elif step == "deal":
        deals = played.dealt()
        deals.add(deals.shown[OTHER])
    elif step == "agree":
        statements = played.agreed()
        statements.add(statements.shown[OTHER])
    else:
        openings = played.opened()
        openings.add(openings.opened[OTHER].sign(played.session, key_of(OTHER)))


def input_twice() -> None:
    played = Round(session_of())
    before = played.dealt()
    _, data = hospital.mask(played.at(ME, Dealt), list(before.shown.values()), played.shares[ME], KEY)
    before.close().add(data).add(data)


def late(step: str) -> None:
    """Comes back for a step after it was missing from the one before."""
    played = Round(session_of())
    if step == "deal":
        all_in = played.dealt()
        fewer = server.Adverts(played.session)
        for name in list(played.session.roll)[:4]:
            fewer = fewer.add(played.at(name, Dealt).advertised.advert)
        fewer.close().add(all_in.shown["h004"])
    else:
        statements = played.agreed()
        fewer_inputs = replace(statements.inputs, names=tuple(played.session.roll)[:4])
        fewer_inputs.close().add(statements.shown["h004"])


BY_HOSPITAL = [
    Act("bytes that are no message", lambda: send_advert(lambda session: b"x" * 300), SecaggFault.MALFORMED),
    Act("no bytes", lambda: send_advert(lambda session: b""), SecaggFault.MALFORMED),
    Act(
        "a message that is not signed",
        lambda: send_advert(lambda session: bytes(64) + advert().sign(session, key_of(OTHER))[64:]),
        SecaggFault.BAD_SIGNATURE,
    ),
    Act(
        "a message in another hospital's name",
        lambda: send_advert(lambda session: advert(hospital=ME).sign(session, key_of(OTHER))),
        SecaggFault.BAD_SIGNATURE,
    ),
    Act(
        "a hospital off the roll",
        lambda: send_advert(lambda session: advert(hospital="somebody").sign(session, key_of("somebody"))),
        SecaggFault.UNKNOWN_HOSPITAL,
    ),
    Act(
        "an advert of the round before",
        lambda: send_advert(lambda session: old().advertised().shown[OTHER]),
        SecaggFault.WRONG_SESSION,
    ),
    Act(
        "a key of small order",
        lambda: send_advert(lambda session: advert(masking=bytes(32)).sign(session, key_of(OTHER))),
        SecaggFault.WEAK_KEY,
    ),
    Act(
        "one key for two uses",
        lambda: send_advert(
            lambda session: advert(masking=(key := advert().masking), sealing=key).sign(
                session, key_of(OTHER)
            )
        ),
        SecaggFault.WEAK_KEY,
    ),
    Act("another hospital's key", stolen_key, SecaggFault.REPEATED),
    Act(
        "a deal to all but one",
        lambda: send_deal(
            lambda played, dealt: replace(
                dealt,
                sealed={name: value for name, value in dealt.sealed.items() if name != THIRD},
                hashes={name: value for name, value in dealt.hashes.items() if name != THIRD},
            ).sign(played.session, key_of(OTHER))
        ),
        SecaggFault.WRONG_VIEW,
    ),
    Act(
        "shares for some and hashes for others",
        lambda: send_deal(
            lambda played, dealt: replace(
                dealt, sealed={name: value for name, value in dealt.sealed.items() if name != THIRD}
            ).sign(played.session, key_of(OTHER))
        ),
        SecaggFault.MALFORMED,
    ),
    Act(
        "sealed shares of a wrong length",
        lambda: send_deal(
            lambda played, dealt: replace(dealt, sealed={**dealt.sealed, THIRD: b"short"}).sign(
                played.session, key_of(OTHER)
            )
        ),
        SecaggFault.MALFORMED,
    ),
    Act(
        "a deal of the round before",
        lambda: send_deal(lambda played, dealt: old().dealt().shown[OTHER]),
        SecaggFault.WRONG_SESSION,
    ),
    Act(
        "an input that was altered",
        lambda: send_input(lambda state, data: data[:-1] + bytes([data[-1] ^ 1])),
        SecaggFault.BAD_SIGNATURE,
    ),
    Act(
        "an input of one word less",
        lambda: send_input(
            lambda state, data: MaskedInput(
                OTHER, state.view, MaskedInput.open(data, state.session).words[:-1]
            ).sign(state.session, key_of(OTHER))
        ),
        SecaggFault.WRONG_SHAPE,
    ),
    Act(
        "an input of wider words",
        lambda: send_input(
            lambda state, data: MaskedInput(
                OTHER, state.view, MaskedInput.open(data, state.session).words.astype("<u8")
            ).sign(state.session, key_of(OTHER))
        ),
        SecaggFault.WRONG_SHAPE,
    ),
    Act(
        "an input masked among others",
        lambda: send_input(
            lambda state, data: replace(MaskedInput.open(data, state.session), view=state.keys_view).sign(
                state.session, key_of(OTHER)
            )
        ),
        SecaggFault.WRONG_VIEW,
    ),
    Act(
        "an input whose header does not end",
        lambda: send_input(lambda state, data: data[:70]),
        SecaggFault.MALFORMED,
    ),
    Act(
        "an input without a header", lambda: send_input(lambda state, data: data[:66]), SecaggFault.MALFORMED
    ),
    Act("an input twice", input_twice, SecaggFault.REPEATED),
    Act(
        "a signature under fewer survivors",
        lambda: send_statement(lambda said: replace(said, names=said.names[:-1])),
        SecaggFault.WRONG_VIEW,
    ),
    Act(
        "survivors unsorted",
        lambda: send_statement(lambda said: replace(said, names=said.names[::-1])),
        SecaggFault.MALFORMED,
    ),
    Act(
        "a garbage share",
        lambda: send_opening(lambda said: replace(said, seeds={**said.seeds, ME: bytes(33)})),
        SecaggFault.BAD_SHARE,
    ),
    Act(
        "a garbage share of a dropped hospital's key",
        lambda: send_opening(lambda said: replace(said, keys=dict.fromkeys(said.keys, bytes(33)))),
        SecaggFault.BAD_SHARE,
    ),
    Act(
        "a share of a wrong length",
        lambda: send_opening(lambda said: replace(said, seeds={**said.seeds, ME: bytes(32)})),
        SecaggFault.MALFORMED,
    ),
    Act(
        "both shares of one hospital",
        lambda: send_opening(lambda said: replace(said, keys={**said.keys, ME: said.seeds[ME]})),
        SecaggFault.MALFORMED,
    ),
    Act(
        "a survivor's key instead of its seed",
        lambda: send_opening(
            lambda said: replace(said, seeds={}, keys={**said.keys, ME: said.seeds[ME]}),
        ),
        SecaggFault.WRONG_VIEW,
    ),
    Act(
        "shares for another set of survivors",
        lambda: send_opening(lambda said: replace(said, view=canonical.digest(b"other"))),
        SecaggFault.WRONG_VIEW,
    ),
    *(
        Act(f"the same answer twice: {step}", lambda step=step: twice(step), SecaggFault.REPEATED)  # type: ignore[misc]
        for step in ("advertise", "deal", "agree", "reveal")
    ),
    Act("a deal without an advert before", lambda: late("deal"), SecaggFault.LEFT_OUT),
    Act("a signature without an input before", lambda: late("agree"), SecaggFault.LEFT_OUT),
]


@pytest.mark.parametrize("row", BY_HOSPITAL, ids=lambda row: row.what)
def test_the_server_refuses_by_name(row: Act) -> None:
    """Catches each row's act being taken, or another name than its own."""
    with pytest.raises(SecaggRefused) as refused:
        row.act()
    assert refused.value.code is row.code


def test_every_fault_has_a_row() -> None:
    """Catches a fault that nothing provokes: those of hospitals alone have their rows in the server's table, and the
    last two their tests beside the tables.
    """
    by_server = {
        SecaggFault.UNKNOWN_KEY,
        SecaggFault.THRESHOLD,
        SecaggFault.CONFLICT,
        SecaggFault.WRONG_NOISE,
    }
    beside = {SecaggFault.TOO_FEW, SecaggFault.BAD_DEAL}
    assert {row.code for row in BY_HOSPITAL} | by_server | beside == set(SecaggFault)


def dealing(change: Callable[[Round, Deal], Deal], lost: Mapping[str, str] | None = None) -> Round:
    """A round in which OTHER deals something else than shares of what it announced."""

    class Dealing(Round):
        def dealt(self) -> server.Deals:
            state = super().dealt()
            made = change(self, state.opened[OTHER]).sign(self.session, key_of(OTHER))
            self.states[OTHER] = replace(self.at(OTHER, Dealt), deal=made)
            again = server.Deals(state.session, state.adverts, state.view)
            for name, data in state.shown.items():
                again = again.add(made if name == OTHER else data)
            return again

    return Dealing(session_of(), lost or {})


def test_sealed_garbage_costs_the_hospital_that_dealt_it() -> None:
    """Catches a hospital that stops at what it can't read: up to n - t may be dealt garbage, and the sum is right."""
    played = dealing(lambda played, dealt: replace(dealt, sealed={**dealt.sealed, THIRD: bytes(94)}))
    total = played.run()
    assert (total.words == played.plain(total.hospitals).astype("uint32")).all()

    garbage = dealing(lambda played, dealt: replace(dealt, sealed=dict.fromkeys(dealt.sealed, bytes(94))))
    with pytest.raises(SecaggRefused, match="bad-deal") as refused:
        garbage.run()
    assert refused.value.hospital == OTHER


@pytest.mark.parametrize("lost", [{}, {OTHER: "mask"}])
def test_shares_of_another_secret_name_the_dealer(lost: Mapping[str, str]) -> None:
    """Catches a wrong sum: shares that fit their hashes, of a secret that was not announced."""

    def other_secret(played: Round, dealt: Deal) -> Deal:
        session, mine = played.session, played.at(OTHER, Dealt).advertised
        shares = [shamir.split(bytes([fill]) * 32, session.threshold, 5) for fill in (1, 2)]
        both = {name: (shares[0][at - 1], shares[1][at - 1]) for name, at in session.places.items()}
        peers = {name: Advert.open(data, session) for name, data in played.at(OTHER, Dealt).adverts.items()}
        sealed = {
            name: pairs.seal(mine.sealing, peers[name].sealing, dealt.view, OTHER, name, b"".join(both[name]))
            for name in dealt.sealed
        }
        played.states[OTHER] = replace(played.at(OTHER, Dealt), own=both[OTHER])
        hashes = {name: (canonical.digest(one), canonical.digest(two)) for name, (one, two) in both.items()}
        return replace(dealt, sealed=sealed, hashes=hashes)

    with pytest.raises(SecaggRefused) as refused:
        dealing(other_secret, lost).run()
    assert refused.value.code is SecaggFault.BAD_DEAL
    assert refused.value.hospital == OTHER
