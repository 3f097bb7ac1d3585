"""A hospital's part in a round under distributed trust, step by step: `privacy.secagg.hospital`, made durable and paid for.

    advertise -> deal -> mask -> agree -> reveal        each a request of its own, asked again as often as need be

    mask:   deals checked -> judge -> reserve -> draw, clip, sum -> round, noise -> mask -> state on disk -> spend -> answer

Asked again, a step gets the same bytes. Once an input was masked, no other session of that round gets anything: a
second masked input of one draw would open the difference of two sets of hospitals. Where the agent dies before the
spend, the masked bytes are lost with it, and never left; the reservation stays charged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from client import peers
from client.incoming import Parts, Refused, part
from client.policy_in_force import PolicyInForce
from client.reservations import Reservations
from client.rpc import LIMIT
from client.sum_states import SumStates, advertised, session_of
from privacy import canonical
from privacy.codes import Refusal, SecaggFault
from privacy.egress_record import MASKED
from privacy.errors import (
    CheckpointError,
    MechanismError,
    PlanRefused,
    RoundConflict,
    SecaggRefused,
    WireError,
)
from privacy.keys import PrivateKey, PublicKey
from privacy.ledger.account import Reservation
from privacy.ledger.store import Ledger
from privacy.plan import Plan
from privacy.secagg import hospital
from privacy.secagg.grid import word_bits
from privacy.secagg.hospital_state import Agreed, Dealt, Masked, State
from privacy.secagg.outgoing import STEPS
from privacy.secagg.session import Session
from privacy.secagg.shared_noise import Share, SharedNoise
from privacy.secagg.terms import Distributed

SHOWN = "shown/"  # begins the name of a part that is another hospital's message
_MOST_NAMES = 64 * 1024  # bytes of a list of survivors
_MOST_BYTES = LIMIT - (1 << 20)  # of a masked sum's words: what can't leave must not be paid for

MakeShare = Callable[[SharedNoise, Reservation], Share]


class SharedRounds:
    """One hospital's rounds under distributed trust.

    `known` is the folder of the other hospitals' keys, by this hospital's own record.
    """

    def __init__(
        self,
        policy: PolicyInForce,
        key: PrivateKey,
        known: Path,
        states: SumStates,
        ledger: Ledger,
        reservations: Reservations,
        code_hash: str,
    ) -> None:
        self._policy, self._key, self._known = policy, key, known
        self._states, self._ledger, self._reservations = states, ledger, reservations
        self._code_hash = code_hash

    def answer(
        self,
        plan: Plan,
        session: Session,
        step: str,
        parts: Parts,
        size: Callable[[], int],
        judge: Callable[[], None],
        share: MakeShare,
    ) -> bytes:
        """The message that answers `step` of this session.

        `size` counts the numbers that the plan's experts have, or raises `PlanRefused` where the policy does not allow the
        plan; `judge` raises it for what may not be trained now; `share` makes this hospital's share, for what was
        reserved. Raises `Refused`, with a code that stands in the ledger too, and `WireError`.
        """
        try:
            if plan.distributed is None:
                raise PlanRefused(
                    Refusal.PLAN_INVALID, "the plan asks for releases, not for a share of a sum"
                )
            noise = self._terms(plan, plan.distributed, session, size())
            known = {**peers.known(self._known), self._policy.now.hospital: self._key.public}
            me, colluding = self._policy.now.hospital, self._policy.now.colluding
            hospital.check_session(session, me, self._key.public, known, colluding)
            state = self._state(session)
            if step == STEPS[0]:
                return self._advertise(plan, session, state, known)
            if state is None or session_of(state) != session:
                raise SecaggRefused(SecaggFault.CONFLICT, "this hospital stands in no such session")
            if step == STEPS[1]:
                return self._deal(state, parts)
            if step == STEPS[2]:
                return self._mask(plan, state, parts, judge, lambda held: share(noise, held))
            self._check_sent(plan, state)
            return self._agree(state, parts) if step == STEPS[3] else self._reveal(state, parts)
        except (PlanRefused, SecaggRefused) as error:
            self._ledger.refuse(error.code, plan.hash)
            raise Refused(error.code, str(error)) from error

    def _terms(self, plan: Plan, terms: Distributed, session: Session, size: int) -> SharedNoise:
        """The round's noise, where session and plan go together; else nothing is begun, drawn or charged."""
        if (session.campaign, session.round, session.plan_hash) != (plan.campaign, plan.round, plan.hash):
            raise SecaggRefused(SecaggFault.WRONG_SESSION, "the session is of another plan")
        if not session.meets(terms):
            raise SecaggRefused(
                SecaggFault.THRESHOLD, "the session leaves fewer honest hospitals than the plan"
            )
        try:
            noise = terms.noise(plan.mechanism, size)
            bits = word_bits(noise.grid, len(session.roll), noise.sigma)
        except MechanismError as error:
            raise PlanRefused(Refusal.PLAN_INVALID, str(error)) from error
        if session.size != size or session.bits < bits:
            raise SecaggRefused(SecaggFault.WRONG_SHAPE, f"{size} numbers of {bits} bits are needed")
        if session.size * session.bits // 8 > _MOST_BYTES:
            raise SecaggRefused(SecaggFault.WRONG_SHAPE, "no reply can carry as long a sum")
        return noise

    def _state(self, session: Session) -> State | None:
        try:
            return self._states.read(session.campaign)
        except CheckpointError as error:
            raise SecaggRefused(SecaggFault.CONFLICT, str(error)) from error

    def _advertise(
        self, plan: Plan, session: Session, state: State | None, known: Mapping[str, PublicKey]
    ) -> bytes:
        if state is not None:
            before = session_of(state)
            if before == session:
                if (mine := advertised(state)) is None:
                    raise SecaggRefused(SecaggFault.CONFLICT, "this hospital has gone on in this session")
                return mine.advert
            if before.round > session.round:
                raise SecaggRefused(SecaggFault.CONFLICT, "this hospital stands in a later round")
        if self._ledger.sent(plan.campaign, plan.round, plan.hash) is not None:
            raise RoundConflict(
                f"the sum of round {plan.round} of {plan.campaign} was sent in another session"
            )
        self._ledger.admit(plan, self._policy.now, self._code_hash)
        new, advert = hospital.advertise(
            session, self._policy.now.hospital, self._key, known, self._policy.now.colluding
        )
        self._states.keep(new)
        return advert

    def _deal(self, state: State, parts: Parts) -> bytes:
        if isinstance(state, Masked | Agreed):
            raise SecaggRefused(SecaggFault.CONFLICT, "this hospital has gone on in this session")
        new, deal = hospital.deal(state, shown(parts), self._key)
        self._states.keep(new)
        return deal

    def _mask(
        self,
        plan: Plan,
        state: State,
        parts: Parts,
        judge: Callable[[], None],
        share: Callable[[Reservation], Share],
    ) -> bytes:
        if not isinstance(state, Dealt):
            return self._check_sent(plan, state)
        hospital.check_deals(state, shown(parts))

        def masked(reservation: Reservation) -> Mapping[str, bytes]:
            new, answer = hospital.mask(state, shown(parts), share(reservation), self._key)
            self._states.keep(new)
            return {MASKED: answer}

        return self._reservations.paid_for(plan, judge, masked)[MASKED]

    def _check_sent(self, plan: Plan, state: State) -> bytes:
        """The masked input that was paid for, and no other, is this state's."""
        sent = self._ledger.sent(plan.campaign, plan.round, plan.hash) or {}
        masked = state.masked if isinstance(state, Agreed) else state
        if not isinstance(masked, Masked) or canonical.digest(sent.get(MASKED, b"")) != masked.sent:
            raise SecaggRefused(SecaggFault.CONFLICT, "this hospital's masked sum was not sent")
        return sent[MASKED]

    def _agree(self, state: State, parts: Parts) -> bytes:
        if not isinstance(state, Masked | Agreed):
            raise SecaggRefused(SecaggFault.CONFLICT, "nothing was masked")
        names = canonical.decode(part(parts, "survivors"), _MOST_NAMES)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise WireError("survivors must be a list of names")
        new, answer = hospital.agree(state, names, self._key)
        self._states.keep(new)
        return answer

    def _reveal(self, state: State, parts: Parts) -> bytes:
        if not isinstance(state, Agreed):
            raise SecaggRefused(SecaggFault.CONFLICT, "no set of survivors was signed for")
        return hospital.reveal(state, shown(parts), self._key)


def shown(parts: Parts) -> list[bytes]:
    """What the server shows of other hospitals' messages, in order of the parts' names."""
    return [value for name, value in sorted(parts.items()) if name.startswith(SHOWN)]
