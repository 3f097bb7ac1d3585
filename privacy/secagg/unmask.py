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
    before any mask is touched: `SecaggRefused` with `bad-deal` or `too-few` names the dealer, and `words` stays.
    """

    seeds, keys = [], {}
    for name, dealer in dealers.items():
        if name in survivors:
            held = {
                holder: opening.seeds[name] for holder, opening in openings.items() if name in opening.seeds
            }
            seed = _secret(name, held, session)
            _check(name, canonical.digest(seed) == dealer.advert.seed_hash)
            seeds.append(seed)
        else:
            held = {
                holder: opening.keys[name] for holder, opening in openings.items() if name in opening.keys
            }
            key = _secret(name, held, session)
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


def _secret(dealer: str, shares: Mapping[str, bytes], session: Session) -> bytes:
    places = session.places
    held = {places[holder]: share for holder, share in shares.items()}
    chosen = tuple(sorted(held))[: session.threshold]
    if len(chosen) < session.threshold:
        raise SecaggRefused(
            SecaggFault.TOO_FEW,
            f"{len(chosen)} hold a share that {dealer} dealt; {session.threshold} must",
            dealer,
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
