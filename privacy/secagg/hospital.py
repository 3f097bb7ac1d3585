"""A hospital's side of secure aggregation: Bonawitz et al., "Practical secure aggregation" (CCS 2017), figure 4.

    advertise -> deal -> mask -> agree -> reveal        each: state and what the server shows -> new state and an answer

The server is taken for an enemy: everything that it shows is checked before the answer is made, and each state gives
one answer only. The caller writes the state to disk before the answer leaves (`privacy.secagg.hospital_state`), and
calls `mask` at most once for what its ledger charged. A second masked input over the same draw, in whatever session,
would open the difference of two sets of hospitals: a second round needs a draw, noise and a charge of its own.

Every function raises `SecaggRefused`, whose code says what is wrong, and answers nothing then.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import SealError, SecaggRefused
from privacy.keys import PrivateKey, PublicKey
from privacy.secagg import pairs, shamir
from privacy.secagg.grid import to_words, word_bits
from privacy.secagg.hospital_state import Advertised, Agreed, Dealt, Masked, Shares
from privacy.secagg.masked_input import MaskedInput
from privacy.secagg.masks import SEED_BYTES, add_mask
from privacy.secagg.messages import Advert, Deal, Opening, Survivors, deals_view, keys_view, survivors_view
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import Share


def advertise(
    session: Session, hospital: str, key: PrivateKey, enrolled: Mapping[str, PublicKey], colluding: int
) -> tuple[Advertised, bytes]:
    """Take part in a round: draw two key pairs and a seed, and announce them. Refused as `check_session` refuses."""
    check_session(session, hospital, key.public, enrolled, colluding)
    sealing, masking, seed = pairs.new_secret(), pairs.new_secret(), secrets.token_bytes(SEED_BYTES)
    announced = Advert(hospital, pairs.public_of(sealing), pairs.public_of(masking), canonical.digest(seed))
    advert = announced.sign(session, key)
    return Advertised(session, hospital, sealing, masking, seed, advert), advert


def check_session(
    session: Session, hospital: str, key: PublicKey, enrolled: Mapping[str, PublicKey], colluding: int
) -> None:
    """Raise `SecaggRefused` for terms that `hospital`, under its present `key`, has no part in.

    `enrolled` are the hospitals that this one knows to be real, with their release keys, itself among them; it comes
    from the hospital's own records, never from the server. Whoever else is on the roll could be the server in disguise.
    `colluding` is how many of the others may side with the server by this hospital's own policy; a session that
    counts on fewer is refused with `threshold`.
    """
    for name, release_key in session.roll.items():
        if name not in enrolled:
            raise SecaggRefused(
                SecaggFault.UNKNOWN_HOSPITAL, f"{name} is on the roll, and is not known here", name
            )
        if release_key != enrolled[name]:
            raise SecaggRefused(SecaggFault.UNKNOWN_KEY, f"{name} is known here by another key", name)
    if session.colluding < colluding:
        raise SecaggRefused(
            SecaggFault.THRESHOLD, f"{colluding} may collude, and the terms bear {session.colluding}"
        )
    if session.roll.get(hospital) != key:
        raise SecaggRefused(SecaggFault.LEFT_OUT, "this hospital, under its present key, is not on the roll")


def deal(state: Advertised | Dealt, adverts: Sequence[bytes], key: PrivateKey) -> tuple[Dealt, bytes]:
    """Share seed and masking key among the hospitals whose `adverts` the server shows: any threshold can tell them.

    The same adverts again get the same answer, others `conflict`.
    """
    if isinstance(state, Dealt):
        if sorted(adverts) != sorted(state.adverts.values()):
            raise SecaggRefused(SecaggFault.CONFLICT, "shares were dealt among others")
        return state, state.deal
    session, shown, peers = state.session, *_adverts(state, adverts)
    seeds = shamir.split(state.seed, session.threshold, len(session.roll))
    keys = shamir.split(state.masking, session.threshold, len(session.roll))
    shares = {
        name: (seeds[place - 1], keys[place - 1]) for name, place in session.places.items() if name in peers
    }
    view = keys_view(session, shown)
    sealed = {
        name: pairs.seal(state.sealing, peers[name].sealing, view, state.hospital, name, seed + secret)
        for name, (seed, secret) in shares.items()
        if name != state.hospital
    }
    hashes = {
        name: (canonical.digest(seed), canonical.digest(secret)) for name, (seed, secret) in shares.items()
    }
    answer = Deal(state.hospital, view, sealed, hashes).sign(session, key)
    return Dealt(state, shown, shares[state.hospital], answer), answer


def check_deals(state: Dealt, deals: Sequence[bytes]) -> None:
    """Raise `SecaggRefused` where `mask` would for what the server shows: before anything is drawn and charged."""
    _, peers = _adverts(state.advertised, list(state.adverts.values()))
    _deals(state, deals, keys_view(state.advertised.session, state.adverts), frozenset(peers))


def mask(state: Dealt, deals: Sequence[bytes], share: Share, key: PrivateKey) -> tuple[Masked, bytes]:
    """Mask this hospital's share of the sum: with its own seed, and with a mask for each hospital that dealt.

    Also refused, with `wrong-noise`, where the session leaves fewer honest hospitals than the share's noise counts on;
    with `wrong-shape`, where size or word don't fit the share's grid. Raises `SealError` for noise from a seeded source.
    """
    mine, (_, peers) = state.advertised, _adverts(state.advertised, list(state.adverts.values()))
    session, me = mine.session, mine.hospital
    _check_share(share, session)
    view = keys_view(session, state.adverts)
    shown, opened = _deals(state, deals, view, frozenset(peers))
    held: dict[str, Shares | None] = {
        name: state.own if name == me else _unsealed(mine, peers[name], dealt, view)
        for name, dealt in opened.items()
    }
    words = to_words(share.whole, session.bits)
    add_mask(words, mine.seed)
    for name in opened:
        if name != me:
            seed = pairs.mask_seed(mine.masking, peers[name].masking, view, me, name)
            add_mask(words, seed, negative=me > name)
    view = deals_view(view, shown)
    answer = MaskedInput(me, view, words).sign(session, key)
    return Masked(session, me, view, held, canonical.digest(answer)), answer


def agree(state: Masked | Agreed, survivors: Sequence[str], key: PrivateKey) -> tuple[Agreed, bytes]:
    """Sign for the set of hospitals whose inputs the server says are in; for one set only."""
    names = tuple(sorted(survivors))
    masked = state.masked if isinstance(state, Agreed) else state
    if isinstance(state, Agreed) and names != state.survivors:
        raise SecaggRefused(SecaggFault.CONFLICT, "another set of survivors was signed for")
    unknown = sorted(set(names) - set(masked.held))
    if unknown:
        raise SecaggRefused(
            SecaggFault.UNKNOWN_HOSPITAL, f"{unknown[0]} dealt nothing, so it can't be in", unknown[0]
        )
    if len(set(names)) < len(names):
        raise SecaggRefused(SecaggFault.REPEATED, "a survivor stands there twice")
    if masked.hospital not in names:
        raise SecaggRefused(SecaggFault.LEFT_OUT, "this hospital's own input is not in")
    _enough(len(names), masked.session, "inputs")
    answer = Survivors(masked.hospital, masked.view, names).sign(masked.session, key)
    return Agreed(masked, names), answer


def reveal(state: Agreed, statements: Sequence[bytes], key: PrivateKey) -> bytes:
    """Open shares: each survivor's seed, each dropped hospital's masking key; the same bytes each time.

    Only where a threshold of survivors signed for the very set that this hospital signed for. What is opened follows
    from that set and from nothing that the server asks, so nobody's input is opened both ways.
    """
    masked, session = state.masked, state.masked.session
    signers = set()
    for data in statements:
        said = Survivors.open(data, session)
        if said.hospital in signers:
            raise SecaggRefused(SecaggFault.REPEATED, f"{said.hospital} signed twice", said.hospital)
        if said.hospital not in state.survivors:
            raise SecaggRefused(
                SecaggFault.UNKNOWN_HOSPITAL, f"{said.hospital} is no survivor", said.hospital
            )
        if (said.view, said.names) != (masked.view, state.survivors):
            raise SecaggRefused(
                SecaggFault.WRONG_VIEW, f"{said.hospital} was told of other survivors", said.hospital
            )
        signers.add(said.hospital)
    _enough(len(signers), session, "signatures under the survivors")
    seeds, keys = {}, {}
    for name, pair in masked.held.items():
        if pair and name in state.survivors:
            seeds[name] = pair[0]
        elif pair:
            keys[name] = pair[1]
    view = survivors_view(Survivors(masked.hospital, masked.view, state.survivors))
    return Opening(masked.hospital, view, seeds, keys).sign(session, key)


def _adverts(state: Advertised, adverts: Sequence[bytes]) -> tuple[dict[str, bytes], dict[str, Advert]]:
    """The adverts by name, as shown and as read."""
    shown: dict[str, bytes] = {}
    peers: dict[str, Advert] = {}
    for data in adverts:
        advert = Advert.open(data, state.session)
        if advert.hospital in peers:
            raise SecaggRefused(SecaggFault.REPEATED, f"{advert.hospital} advertised twice", advert.hospital)
        shown[advert.hospital], peers[advert.hospital] = data, advert
    public = [value for advert in peers.values() for value in (advert.sealing, advert.masking)]
    if len(set(public)) < len(public):
        raise SecaggRefused(SecaggFault.REPEATED, "two hospitals advertise one key")
    if shown.get(state.hospital) != state.advert:
        raise SecaggRefused(
            SecaggFault.LEFT_OUT, "this hospital's own advert is missing, or not the one it sent"
        )
    _enough(len(peers), state.session, "adverts")
    return shown, peers


def _deals(
    state: Dealt, deals: Sequence[bytes], view: str, dealers: frozenset[str]
) -> tuple[dict[str, bytes], dict[str, Deal]]:
    session, me = state.advertised.session, state.advertised.hospital
    shown: dict[str, bytes] = {}
    opened: dict[str, Deal] = {}
    for data in deals:
        dealt = Deal.open(data, session)
        name = dealt.hospital
        if name in opened:
            raise SecaggRefused(SecaggFault.REPEATED, f"{name} dealt twice", name)
        if name not in dealers or dealt.view != view or dealt.hashes.keys() != dealers:
            raise SecaggRefused(SecaggFault.WRONG_VIEW, f"{name} was shown other keys", name)
        shown[name], opened[name] = data, dealt
    if shown.get(me) != state.deal:
        raise SecaggRefused(
            SecaggFault.LEFT_OUT, "this hospital's own deal is missing, or not the one it sent"
        )
    _enough(len(opened), session, "deals")
    return shown, opened


def _unsealed(mine: Advertised, dealer: Advert, dealt: Deal, view: str) -> Shares | None:
    """What `dealer` sealed for this hospital; None where it is not what the dealer's hashes say."""
    sealed = dealt.sealed[mine.hospital]
    try:
        text = pairs.unseal(mine.sealing, dealer.sealing, view, dealer.hospital, mine.hospital, sealed)
    except ValueError:
        return None
    pair = text[: shamir.SHARE_BYTES], text[shamir.SHARE_BYTES :]
    if (canonical.digest(pair[0]), canonical.digest(pair[1])) != dealt.hashes[mine.hospital]:
        return None
    return pair if all(map(shamir.is_share, pair)) else None


def _check_share(share: Share, session: Session) -> None:
    noise = share.noise
    if not share.secure:
        raise SealError(
            "the noise came from a seeded generator, and whoever knows the seed can take it off again"
        )
    if share.whole.size != session.size:
        raise SecaggRefused(SecaggFault.WRONG_SHAPE, f"{share.whole.size} numbers, not {session.size}")
    if word_bits(noise.grid, len(session.roll), noise.sigma) > session.bits:
        raise SecaggRefused(SecaggFault.WRONG_SHAPE, f"sums of such shares do not fit {session.bits} bits")
    if noise.honest > session.honest:
        raise SecaggRefused(
            SecaggFault.WRONG_NOISE,
            f"the noise counts on {noise.honest} honest hospitals, of {session.honest}",
        )


def _enough(found: int, session: Session, what: str) -> None:
    if found < session.threshold:
        raise SecaggRefused(SecaggFault.TOO_FEW, f"{found} {what}, and the threshold is {session.threshold}")
