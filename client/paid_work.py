"""What an agent computes once a round, or an evaluation, is paid for: sealed releases, shares of a sum, noised counts."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from functools import partial

from client.agent_data import AgentData
from client.evaluation.answers import Asking, at_once
from client.expert_states import ExpertStates
from client.home import Home
from client.incoming import Parts
from client.model.base import Base
from client.noised_evaluation import noised_evaluation
from client.policy_in_force import PolicyInForce
from client.progress import Progress
from client.reward_curve import RewardCurve
from client.sampler import settle
from client.step_checkpoints import StepCheckpoints, StoppedAfterStep
from client.training import memory, rollout
from client.training.batch import Performance
from client.training.cohort import cohort_of
from client.training.distributed import Team
from client.training.draw import StepSum
from client.training.round import clipped_sum, stage_gradients, train_round
from client.training.vllm import VllmSampler
from privacy.clip import Clipped
from privacy.codes import Refusal
from privacy.delta import ExpertDelta
from privacy.descent import StepState
from privacy.egress_record import COUNTS
from privacy.errors import PlanRefused
from privacy.evaluation import NoisedEvaluation
from privacy.keys import PrivateKey
from privacy.ledger.account import Reservation
from privacy.noised_counts import NoisedCounts
from privacy.plan import Plan
from privacy.randomness import RandomSource
from privacy.release import seal
from privacy.sealed_counts import seal_counts
from privacy.secagg.clipped_share import share_of
from privacy.secagg.layout import Layout
from privacy.secagg.shared_noise import Share, SharedNoise

_LOG = logging.getLogger("fedpath.agent")


@dataclass
class PaidWork:
    """One piece of work at a time, on the agent's base, over the agent's data. Whoever calls holds the reservation.

    Once `ending` is set, a round ends after the step under way, which is kept.
    """

    home: Home
    base: Base
    data: AgentData
    experts: ExpertStates
    in_force: PolicyInForce
    checkpoints: StepCheckpoints
    progress: Progress
    key: PrivateKey
    random: RandomSource
    team: Team | None
    ending: threading.Event
    vllm: VllmSampler | None
    performance: Performance = field(default_factory=Performance)
    rows: int = memory.ROWS[-1]

    def fit(self, asked: Plan | NoisedEvaluation) -> None:
        """Choose how much to compute at once on this device, of which vLLM has a part only where there are rollouts. Raises
        `PlanRefused` where what is asked does not fit at all.
        """
        sampling = isinstance(asked, Plan) and asked.stage == "grpo"
        share = settle(self.home, self.base.device, self.vllm, self.in_force.now.gpu_memory_share, sampling)
        free = memory.free_bytes(self.base.device, share) - self.data.set_aside
        try:
            need = self._fit_round(asked, free) if isinstance(asked, Plan) else self._fit_answers(asked, free)
        except memory.DeviceMemoryError as error:
            raise PlanRefused(Refusal.DEVICE_MEMORY, str(error)) from error
        self.progress.memory_planned = need.total

    def _fit_round(self, plan: Plan, free: int) -> memory.Need:
        names = plan.restricted(self.in_force.now.experts)
        trained = self.experts.attached(plan).trainable(names, self.in_force.now.max_rank)
        self.performance, need = memory.fitting(
            memory.Decoder.of(self.base),
            memory.weights(self.base),
            {name: tuple(value.shape) for name, value in trained.items()},
            max((form.rank for form in plan.forms.values()), default=1),
            free,
            memory.machine_free(self.base.device),
            plan.mechanism.samples_per_patient,
            plan.rollouts,
            plan.longest_answer,
        )
        _LOG.info("memory: at most %s; %s", need, self.performance)
        return need

    def _fit_answers(self, asked: NoisedEvaluation, free: int) -> memory.Need:
        self.rows, need = at_once(self.base, asked, asked.max_answer_tokens, free)
        _LOG.info("memory: at most %s; %d questions at once", need, self.rows)
        return need

    def sealed_round(self, plan: Plan, parts: Parts, reservation: Reservation) -> Parts:
        """The round's releases, by expert. Raises `StoppedAfterStep` where the agent ends meanwhile."""
        if self.team is not None:
            self.team.begin(plan, parts, self.data.index.slides)

        def trained() -> dict[str, ExpertDelta]:
            curve = RewardCurve(self.home.rewards, plan.campaign, plan.round)

            def step(done: int, of: int) -> None:
                curve.step(done)
                self.progress.step(done, of)

            def keep(state: StepState) -> None:
                self.checkpoints.keep(reservation, state)
                if self.ending.is_set() and state.steps < plan.mechanism.steps:
                    raise StoppedAfterStep(f"step {state.steps} of {plan.mechanism.steps} is kept")

            return train_round(
                self.experts.load(plan, parts),  # as sent: a slide may have gone bad in the midst of it
                reservation.experts,
                self.data.samples,
                self.data.inputs,
                plan,
                self.in_force.now.nominal_patients,
                self.random,
                step,
                self.performance,
                self._step_sum(curve),
                resume=self.checkpoints.read(reservation),
                keep=keep,
                max_rank=reservation.max_rank,
                tasks=self.in_force.now.tasks,
                sampler=self.vllm or rollout.sample,
            )

        deltas = self.data.while_readable(trained, self.progress.skip)
        name, key = self.in_force.now.hospital, self.key
        return {expert: seal(delta, reservation, plan, name, key) for expert, delta in deltas.items()}

    def sealed_counts(self, asked: NoisedEvaluation, reservation: Reservation) -> Parts:
        """Counts over the kinds that the policy allows; of the others, none."""
        allowed = self.in_force.now.kinds

        def counted() -> NoisedCounts:
            return noised_evaluation(
                self.experts.attached(asked),
                [sample for sample in self.data.samples if sample.kind in allowed],
                self.data.inputs,
                asked.kinds,
                Asking.of(asked),
                asked.noise_multiplier,
                self.random,
                self.progress.step,
                self.rows,
            )

        counts = self.data.while_readable(counted, self.progress.skip)
        return {COUNTS: seal_counts(counts, reservation, asked, self.in_force.now.hospital, self.key)}

    def share(self, plan: Plan, parts: Parts, noise: SharedNoise, reservation: Reservation) -> Share:
        """This hospital's part of a sum, with its part of the noise."""
        if self.team is not None:
            self.team.begin(plan, parts, self.data.index.slides)

        def summed() -> Clipped:
            curve = RewardCurve(self.home.rewards, plan.campaign, plan.round)
            experts = self.experts.load(plan, parts)
            cohort = cohort_of(
                experts,
                reservation.experts,
                self.data.samples,
                self.data.inputs,
                plan,
                self.performance,
                tasks=self.in_force.now.tasks,
                sampler=self.vllm or rollout.sample,
            )
            total = self._step_sum(curve)(cohort.draw(self.random))
            curve.step(1)
            return total

        clipped = self.data.while_readable(summed, self.progress.skip)
        return share_of(clipped, Layout(self.experts.shapes(plan)), noise, self.random)

    def _step_sum(self, curve: RewardCurve) -> StepSum:
        """Who takes the sum of a step: this process alone, or the team; the curve hears of every group of rollouts."""
        if self.team is not None:
            return partial(self.team.clipped_sum, rewarded=curve.rewarded)
        return partial(clipped_sum, gradients=partial(stage_gradients, rewarded=curve.rewarded))
