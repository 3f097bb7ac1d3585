"""Take the masks off a sum: the survivors' own, and those that they share with hospitals that dropped out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import SecaggRefused
from privacy.secagg import pairs, shamir
from privacy.secagg.grid import Words
from privacy.secagg.masks import add_mask
from privacy.secagg.messages import Advert, Opening
from privacy.secagg.session import Session


@dataclass(frozen=True)
class Dealer:
    """A hospital that dealt: what it announced, and the hashes of each holder's two shares."""

    name: str
    advert: Advert
    hashes: Mapping[str, tuple[str, str]]


def unmask(
    words: Words,
    session: Session,
    view: str,
    dealers: Mapping[str, Dealer],
    survivors: tuple[str, ...],
    openings: Mapping[str, Opening],
) -> None:
    """Turn the survivors' masked sum into their sum, in place.

    `openings` hold shares that match the dealers' hashes. Every secret is checked against what its dealer announced,
    before any mask is touched: `SecaggRefused` with `bad-deal` or `too-few` names the dealer, and `words` stays. It is
    `bad-deal` where the dealer is proved false if no more hospitals are than may be missing; with `too-few`, the dealer or
    all of those who open no share of it may be.
    """

    seeds, keys = [], {}
    for name, dealer in dealers.items():
        if name in survivors:
            seed = _secret(
                name, {holder: opening.seeds.get(name) for holder, opening in openings.items()}, session
            )
            _check(name, canonical.digest(seed) == dealer.advert.seed_hash)
            seeds.append(seed)
        else:
            key = _secret(
                name, {holder: opening.keys.get(name) for holder, opening in openings.items()}, session
            )
            _check(name, pairs.public_of(key) == dealer.advert.masking)
            keys[name] = key
    for seed in seeds:
        add_mask(words, seed, negative=True)
    for dropped, key in keys.items():
        for name in survivors:
            seed = pairs.mask_seed(key, dealers[name].advert.masking, view, dropped, name)
            add_mask(
                words, seed, negative=name < dropped
            )  # the survivor added it where its name is the first


def _secret(dealer: str, opened: Mapping[str, bytes | None], session: Session) -> bytes:
    """The secret of the shares that were opened, by holder; None is a holder's who opened its others and not this one."""
    places = session.places
    held = {places[holder]: share for holder, share in opened.items() if share is not None}
    without = sorted(holder for holder, share in opened.items() if share is None)
    chosen = tuple(sorted(held))[: session.threshold]
    if len(chosen) < session.threshold:
        told = f"{len(chosen)} hold a share that {dealer} dealt; {session.threshold} must"
        # More than may be missing can't all be false, so the dealer gave them nothing that can be opened.
        if len(without) > len(places) - session.threshold:
            raise SecaggRefused(SecaggFault.BAD_DEAL, f"{told}, and {len(without)} can open none", dealer)
        raise SecaggRefused(
            SecaggFault.TOO_FEW, f"{told}: {dealer} is false, or {' and '.join(without)}", dealer
        )
    try:
        return shamir.combine({place: held[place] for place in chosen}, _weights(chosen))
    except ValueError as error:
        raise SecaggRefused(
            SecaggFault.BAD_DEAL, f"{dealer} dealt shares of nothing: {error}", dealer
        ) from None


def _check(dealer: str, right: bool) -> None:
    if not right:
        raise SecaggRefused(SecaggFault.BAD_DEAL, f"{dealer} dealt shares of another secret", dealer)


_weights = lru_cache(maxsize=8)(shamir.weights_at_zero)
