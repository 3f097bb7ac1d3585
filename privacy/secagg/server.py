"""The server's side of secure aggregation: it collects five kinds of messages and learns one sum.

    Adverts --close--> Deals --close--> Inputs --close--> Statements --close--> Openings --close--> Total

`add` takes one message's bytes and gives the next state, or raises `SecaggRefused` naming what does not fit (and the
hospital, where its signature says so): the state is then as it was. `close` ends a step with whoever answered; a
hospital that is missing from then on costs its own part, and `close` raises `too-few` where fewer than the threshold
are left. What has been shown to hospitals stays as it is, so a killed server goes on by adding the kept messages anew.

Masked inputs are added up as they come: memory is two vectors and one message, however many hospitals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import SecaggRefused
from privacy.secagg.grid import Words, zeros
from privacy.secagg.masked_input import MaskedInput
from privacy.secagg.messages import Advert, Deal, Opening, Survivors, deals_view, keys_view, survivors_view
from privacy.secagg.session import Session
from privacy.secagg.unmask import Dealer, unmask


@dataclass(frozen=True)
class Adverts:
    """Step 1: who takes part. `shown` are the messages that everybody is shown afterwards."""

    session: Session
    shown: Mapping[str, bytes] = field(default_factory=dict)
    opened: Mapping[str, Advert] = field(default_factory=dict)

    def add(self, data: bytes) -> Adverts:
        """Take one hospital's advert."""
        advert = Advert.open(data, self.session)
        _new(advert.hospital, self.shown)
        public = {value for other in self.opened.values() for value in (other.sealing, other.masking)}
        if public & {advert.sealing, advert.masking}:
            raise SecaggRefused(SecaggFault.REPEATED, "another hospital advertises that key", advert.hospital)
        name = advert.hospital
        return replace(self, shown={**self.shown, name: data}, opened={**self.opened, name: advert})

    def close(self) -> Deals:
        """End the step."""
        _enough(len(self.shown), self.session, "adverts")
        return Deals(self.session, self.opened, keys_view(self.session, self.shown))


@dataclass(frozen=True)
class Deals:
    """Step 2: shares, sealed to each other hospital. `shown` are the messages that every dealer is shown afterwards."""

    session: Session
    adverts: Mapping[str, Advert]
    view: str
    shown: Mapping[str, bytes] = field(default_factory=dict)
    opened: Mapping[str, Deal] = field(default_factory=dict)

    def add(self, data: bytes) -> Deals:
        """Take one hospital's deal."""
        dealt = Deal.open(data, self.session)
        name = dealt.hospital
        _new(name, self.shown)
        _in(name, self.adverts)
        if dealt.view != self.view or dealt.hashes.keys() != self.adverts.keys():
            raise SecaggRefused(SecaggFault.WRONG_VIEW, f"{name} dealt among others", name)
        return replace(self, shown={**self.shown, name: data}, opened={**self.opened, name: dealt})

    def close(self) -> Inputs:
        """End the step."""
        _enough(len(self.shown), self.session, "deals")
        dealers = {
            name: Dealer(name, self.adverts[name], dealt.hashes)
            for name, dealt in sorted(self.opened.items())
        }
        words = zeros(self.session.size, self.session.bits)
        return Inputs(self.session, dealers, self.view, deals_view(self.view, self.shown), words)


@dataclass(frozen=True)
class Inputs:
    """Step 3: masked vectors, added up in `total` in place: of several states after one another, the last is right."""

    session: Session
    dealers: Mapping[str, Dealer]
    keys_view: str
    view: str
    total: Words = field(repr=False, compare=False)
    names: tuple[str, ...] = ()

    def add(self, data: bytes) -> Inputs:
        """Add one hospital's masked vector to the total."""
        masked = MaskedInput.open(data, self.session)
        _new(masked.hospital, self.names)
        _in(masked.hospital, self.dealers)
        if masked.view != self.view:
            raise SecaggRefused(SecaggFault.WRONG_VIEW, "it is masked among others", masked.hospital)
        np.add(self.total, masked.words, out=self.total)
        return replace(self, names=tuple(sorted((*self.names, masked.hospital))))

    def close(self) -> Statements:
        """End the step: `names` are the survivors, whom each of them is told now."""
        _enough(len(self.names), self.session, "inputs")
        return Statements(self, self.names)


@dataclass(frozen=True)
class Statements:
    """Step 4: signatures under the set of survivors. `shown` are the messages that every signer is shown afterwards."""

    inputs: Inputs
    survivors: tuple[str, ...]
    shown: Mapping[str, bytes] = field(default_factory=dict)

    def add(self, data: bytes) -> Statements:
        """Take one survivor's signature."""
        said = Survivors.open(data, self.inputs.session)
        _new(said.hospital, self.shown)
        _in(said.hospital, self.survivors)
        if (said.view, said.names) != (self.inputs.view, self.survivors):
            raise SecaggRefused(SecaggFault.WRONG_VIEW, "it signed for other survivors", said.hospital)
        return replace(self, shown={**self.shown, said.hospital: data})

    def close(self) -> Openings:
        """End the step."""
        _enough(len(self.shown), self.inputs.session, "signatures under the survivors")
        view = survivors_view(Survivors("", self.inputs.view, self.survivors))
        return Openings(self.inputs, self.survivors, frozenset(self.shown), view)


@dataclass(frozen=True)
class Openings:
    """Step 5: shares of what takes the masks off."""

    inputs: Inputs
    survivors: tuple[str, ...]
    signers: frozenset[str]
    view: str
    opened: Mapping[str, Opening] = field(default_factory=dict)

    def add(self, data: bytes) -> Openings:
        """Take one signer's shares. `bad-share` names the hospital that opens another share than it was dealt."""
        opening = Opening.open(data, self.inputs.session)
        name = opening.hospital
        _new(name, self.opened)
        _in(name, self.signers)
        dropped = self.inputs.dealers.keys() - set(self.survivors)
        if opening.view != self.view or not (
            opening.seeds.keys() <= set(self.survivors) and opening.keys.keys() <= dropped
        ):
            raise SecaggRefused(SecaggFault.WRONG_VIEW, "it opens other shares than were asked for", name)
        for kind, shares in enumerate((opening.seeds, opening.keys)):
            for dealer, share in shares.items():
                if canonical.digest(share) != self.inputs.dealers[dealer].hashes[name][kind]:
                    raise SecaggRefused(
                        SecaggFault.BAD_SHARE, f"it was dealt another share by {dealer}", name
                    )
        return replace(self, opened={**self.opened, name: opening})

    def close(self) -> Total:
        """Take the masks off. Raises `bad-deal` naming who dealt what no secret, or no announced one, comes of."""
        _enough(len(self.opened), self.inputs.session, "openings")
        words = self.inputs.total.copy()
        unmask(
            words,
            self.inputs.session,
            self.inputs.keys_view,
            self.inputs.dealers,
            self.survivors,
            self.opened,
        )
        return Total(words, self.survivors)


@dataclass(frozen=True)
class Total:
    """The sum of the survivors' vectors, modulo the word, and of nobody else's."""

    words: Words
    hospitals: tuple[str, ...]


def _new(name: str, known: Mapping[str, object] | tuple[str, ...]) -> None:
    if name in known:
        raise SecaggRefused(SecaggFault.REPEATED, f"{name} has answered this step", name)


def _in(name: str, before: Mapping[str, object] | tuple[str, ...] | frozenset[str]) -> None:
    if name not in before:
        raise SecaggRefused(SecaggFault.LEFT_OUT, f"{name} was not in the step before", name)


def _enough(found: int, session: Session, what: str) -> None:
    if found < session.threshold:
        raise SecaggRefused(SecaggFault.TOO_FEW, f"{found} {what}, and the threshold is {session.threshold}")
