"""What an answer costs: asked of the ledger before the work, charged before the answer, never handed back.

    answered before -> the very same bytes
    else               judge -> reserve (or take up the interrupted round) -> make -> spend
    making failed      -> void: nothing was sealed, and what it cost stays charged

A round in which the agent died goes on from its last step's checkpoint, under the reservation that it had; asked to
train anything else, the hospital gives it up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from client.incoming import Parts, Refused
from client.policy_in_force import PolicyInForce
from client.step_checkpoints import StepCheckpoints, StoppedAfterStep
from privacy.codes import Refusal
from privacy.errors import CheckpointError, PlanRefused
from privacy.evaluation import NoisedEvaluation
from privacy.ledger.account import Reservation
from privacy.ledger.store import Ledger
from privacy.plan import Plan

_LOG = logging.getLogger("fedpath.agent")


class Reservations:
    """One hospital's reservations, and the checkpoints of those that are open. `charged` is called whenever what the
    ledger counts may have changed.
    """

    def __init__(
        self,
        ledger: Ledger,
        checkpoints: StepCheckpoints,
        policy: PolicyInForce,
        code_hash: str,
        charged: Callable[[], None],
    ) -> None:
        self._ledger, self._checkpoints = ledger, checkpoints
        self._policy, self._code_hash = policy, code_hash
        self._charged = charged

    def settle(self) -> tuple[int, int]:
        """Void what a dead agent left open, but for rounds that can go on, and adopt the policy: how many were voided,
        and how many can go on.
        """
        interrupted = self._interrupted()
        voided = self._ledger.void_unspent(keep=interrupted)
        self._policy.record()  # after that: what is open was reserved under the one before
        self._checkpoints.sweep(keep=interrupted)
        return voided, len(interrupted)

    def paid_for(
        self,
        asked: Plan | NoisedEvaluation,
        judge: Callable[[], None],
        make: Callable[[Reservation], Parts],
    ) -> Parts:
        """The very bytes that answered before; or else `judge`, reserve, `make` them, and spend.

        Nothing is reserved for what `judge` raises `PlanRefused` for. Every `PlanRefused`, the ledger's own too, is
        noted in the ledger and raised as `Refused`.
        """
        try:
            sent = self._ledger.sent(asked.campaign, asked.round, asked.hash, asked.purpose)
            if sent is not None:
                return sent
            judge()
            return self._made(self._reserved(asked), make)
        except PlanRefused as error:
            self._ledger.refuse(error.code, asked.hash)
            raise Refused(error.code, str(error)) from error

    def _made(self, reservation: Reservation, make: Callable[[Reservation], Parts]) -> Parts:
        self._charged()
        try:
            sealed = make(reservation)
        except StoppedAfterStep:  # it goes on from there, under the same reservation
            raise
        except BaseException:
            self._ledger.void(reservation)  # nothing was sealed; what it cost stays charged
            self._checkpoints.sweep()
            self._charged()
            raise
        self._ledger.spend(reservation, sealed)
        self._checkpoints.sweep()
        return sealed

    def _reserved(self, asked: Plan | NoisedEvaluation) -> Reservation:
        """The reservation of the interrupted round that this very plan asks for again; else a new one.

        Asked to train anything else, the hospital gives the interrupted round up: it sent nothing.
        """
        if not self._policy.is_recorded():
            raise Refused(Refusal.BUSY, "the policy was changed while this was judged: it is judged anew")
        if isinstance(asked, Plan):
            for held in self._ledger.unspent(self._policy.now, self._code_hash):
                if held.plan_hash == asked.hash:
                    return held
            self._ledger.void_unspent()
            self._checkpoints.sweep()
        return self._ledger.reserve(asked, self._policy.now, self._code_hash)

    def _interrupted(self) -> list[Reservation]:
        """The reservations of rounds in which an agent died, and which can go on from a step's checkpoint."""
        found = []
        for reservation in self._ledger.unspent(self._policy.now, self._code_hash):
            try:
                if self._checkpoints.read(reservation) is not None:
                    found.append(reservation)
            except CheckpointError as error:
                _LOG.warning("round %d of %s begins anew: %s", reservation.round, reservation.campaign, error)
        return found
