"""Every message and state of secure aggregation reads back as written, and no bytes raise anything but a refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import canonical
from privacy.errors import CheckpointError, SecaggRefused
from privacy.keys import SIGNATURE_BYTES, Purpose
from privacy.secagg import pairs, shamir
from privacy.secagg.hospital_state import Advertised, Agreed, Dealt, Masked, State, from_bytes, to_bytes
from privacy.secagg.masked_input import MaskedInput
from privacy.secagg.messages import SEALED_BYTES, Advert, Deal, Opening, Survivors
from privacy.secagg.session import Session
from tests.secagg_cases import key_of, session_of

SESSION = session_of(4, size=5)
NAMES = tuple(SESSION.roll)
KINDS = {
    Advert: Purpose.SECAGG_ADVERT,
    Deal: Purpose.SECAGG_DEAL,
    Survivors: Purpose.SECAGG_SURVIVORS,
    Opening: Purpose.SECAGG_OPENING,
}

name = st.sampled_from(NAMES)
some = st.sets(name).map(sorted)
digest = st.binary(max_size=4).map(canonical.digest)
public = st.builds(lambda: pairs.public_of(pairs.new_secret()))
share = st.binary(min_size=shamir.SHARE_BYTES, max_size=shamir.SHARE_BYTES)
sealed = st.binary(min_size=SEALED_BYTES, max_size=SEALED_BYTES)

adverts = st.builds(Advert, name, public, public, digest)
survivors = st.builds(Survivors, name, digest, some.map(tuple))


@st.composite
def deals(draw: st.DrawFn) -> Deal:
    dealer = draw(name)
    held = {holder: (draw(digest), draw(digest)) for holder in {*draw(some), dealer}}
    return Deal(dealer, draw(digest), {holder: draw(sealed) for holder in held if holder != dealer}, held)


@st.composite
def openings(draw: st.DrawFn) -> Opening:
    first = draw(st.sets(name))
    seeds = {of: draw(share) for of in first}
    return Opening(draw(name), draw(digest), seeds, {of: draw(share) for of in set(NAMES) - first})


@given(st.one_of(adverts, deals(), survivors, openings()))
def test_messages_read_back_as_written(message: Advert | Deal | Survivors | Opening) -> None:
    """Catches a field that is lost or changed on the way, and bytes that hang on the order of a table."""
    data = message.sign(SESSION, key_of(message.hospital))
    again = type(message).open(data, SESSION)
    assert again == message
    assert again.sign(SESSION, key_of(message.hospital)) == data


@given(st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5), name, digest)
def test_masked_inputs_read_back_as_written(words: list[int], hospital: str, view: str) -> None:
    """Catches words that are cut, shifted or of the machine's own order."""
    message = MaskedInput(hospital, view, np.array(words, np.uint32))
    data = message.sign(SESSION, key_of(hospital))
    again = MaskedInput.open(data, SESSION)
    assert again == message
    assert again.words.tolist() == words
    assert again.sign(SESSION, key_of(hospital)) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | name | digest,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | name, inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.sampled_from(list(KINDS)), st.data())
def test_a_signed_message_of_any_fields_is_refused_by_name(kind: type[Advert], data: st.DataObject) -> None:
    """Catches a field that is read before its form is known: any JSON in a hospital's own signed message."""
    fields = {field: data.draw(JSON) for field in kind.__dataclass_fields__ if field != "hospital"}
    payload = canonical.encode({**fields, "session": SESSION.hash, "hospital": NAMES[0]})
    _refused_or_read(lambda: kind.open(key_of(NAMES[0]).sign(payload, KINDS[kind]) + payload, SESSION))


@settings(max_examples=300)
@given(st.sampled_from([*KINDS, MaskedInput]), st.binary(max_size=300), st.booleans())
def test_any_bytes_are_refused_by_name(kind: type[Advert], data: bytes, signed: bool) -> None:
    """Catches an error of another kind, which would end the server's round."""
    _refused_or_read(lambda: kind.open(bytes(SIGNATURE_BYTES) * signed + data, SESSION))


@given(
    st.dictionaries(st.sampled_from(list(Session.__dataclass_fields__)), JSON, max_size=3),
    st.binary(max_size=50),
)
def test_terms_of_any_form_are_refused_or_read(changes: dict[str, object], junk: bytes) -> None:
    """Catches terms that raise something else, or that read as other terms than they are written as."""
    fields = canonical.decode(SESSION.to_bytes(), 1 << 16)
    for data in (canonical.encode({**fields, **changes}), junk):
        with contextlib.suppress(SecaggRefused):
            assert Session.from_bytes(data).to_bytes() == data
    assert Session.from_bytes(SESSION.to_bytes()) == SESSION


held = st.dictionaries(name, st.none() | st.tuples(share, share))
secret = st.binary(min_size=32, max_size=32)
advertised = st.builds(Advertised, st.just(SESSION), name, secret, secret, secret, st.binary(max_size=90))
masked = st.builds(Masked, st.just(SESSION), name, digest, held, digest)
states = st.one_of(
    advertised,
    st.builds(
        Dealt,
        advertised,
        st.dictionaries(name, st.binary(max_size=90)),
        st.tuples(share, share),
        st.binary(max_size=90),
    ),
    masked,
    st.builds(Agreed, masked, some.map(tuple)),
)


@given(states)
def test_states_read_back_as_kept(state: State) -> None:
    """Catches a state of which a restart loses a part."""
    assert from_bytes(to_bytes(state)) == state


@given(st.one_of(st.binary(max_size=60), JSON.map(canonical.encode)))
def test_a_state_of_any_bytes_is_refused(data: bytes) -> None:
    """Catches a damaged file that ends the agent with another error."""
    with pytest.raises(CheckpointError):
        from_bytes(data)


def _refused_or_read(read: Callable[[], object]) -> None:
    with contextlib.suppress(SecaggRefused):
        read()
