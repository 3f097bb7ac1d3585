"""A round of private training at one hospital: S noised steps from the experts as sent, to one delta an
expert.

A question that is longer than `PROMPT_TOKENS`, or whose true answer SFT would have to learn is longer than the plan's
longest, trains nothing. So what a round needs of memory has a public bound, whoever is drawn: `client.training.memory`.

After each step the caller may keep the descent's state, and hand it in again where the process died: the round goes
on with the next step, under the same reservation (`privacy.checkpoint` says why that costs nothing).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from client.model.experts import Experts
from client.tasks.sample import Sample
from client.training import grpo, memory, rollout, sft
from client.training.batch import LoadInputs, Performance
from client.training.cohort import cohort_of
from client.training.draw import Draw, PatientGradients, StepSum
from client.training.rollout import Sampler
from privacy.clip import Clipped, add, clip_and_sum
from privacy.descent import ExpertDelta, PrivateDescent, StepState
from privacy.experts import TASKS
from privacy.noise import add_noise
from privacy.plan import Plan
from privacy.randomness import RandomSource

Progress = Callable[[int, int], None]
Keep = Callable[[StepState], None]
DEFAULT = Performance()
_LOG = logging.getLogger("fedpath.agent")


def stage_gradients(draw: Draw, rewarded: grpo.Rewarded = lambda task, rewards: None) -> dict[str, Tensor]:
    """Each patient's gradient of the loss of the plan's stage; `rewarded` as `grpo.gradients` tells it."""
    if draw.plan.stage == "sft":
        return sft.gradients(draw)
    plan = draw.plan
    settings = grpo.Settings(plan.rollouts, plan.kl_beta, plan.max_answer_tokens)
    return grpo.gradients(draw, settings, rewarded)


def train_round(
    experts: Experts,
    trained: Sequence[str],
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    plan: Plan,
    nominal_patients: int,
    random: RandomSource,
    progress: Progress,
    performance: Performance = DEFAULT,
    gradients: PatientGradients = stage_gradients,
    resume: StepState | None = None,
    keep: Keep = lambda state: None,
    shared_sum: StepSum | None = None,
    max_rank: int | None = None,
    tasks: Collection[str] = tuple(TASKS),
    sampler: Sampler = rollout.sample,
) -> dict[str, ExpertDelta]:
    """Train the `trained` experts (those of the plan that the hospital allows) by the plan's mechanism, from the
    weights that they hold.

    Exactly `plan.mechanism.steps` steps are taken, an empty draw's too; each divides by the public
    `sampling_rate * nominal_patients`. Samples that train none of the experts, or are too long, are left out. `progress(step,
    of)` is told of each step's end, after `keep` had the state; `resume` is such a state of this very round, whose
    steps are not taken again. `shared_sum` (`distributed.Team.clipped_sum`) takes the stage's gradients in several
    processes, in place of `gradients` in this one. With `max_rank` the first columns of each B train, so many at most, and
    the deltas hold these alone. `tasks` are those of the hospital's policy, which its router learns to tell apart, and
    `sampler` samples rollouts. Afterwards the experts hold the trained weights.
    """
    mechanism = plan.mechanism
    cohort = cohort_of(
        experts, trained, samples, load_inputs, plan, performance, max_rank, tasks=tasks, sampler=sampler
    )
    descent = _descent(cohort.parameters, plan, resume)
    experts.write(descent.parameters)
    for step in range(descent.steps_taken, mechanism.steps):
        draw = cohort.draw(random)
        clipped = clipped_sum(draw, gradients) if shared_sum is None else shared_sum(draw)
        descent.step(add_noise(clipped, mechanism, mechanism.sampling_rate * nominal_patients, random))
        experts.write(descent.parameters)
        keep(descent.state())
        progress(step + 1, mechanism.steps)
    return descent.deltas()


def _descent(start: Mapping[str, Tensor], plan: Plan, resume: StepState | None) -> PrivateDescent:
    if resume is None:
        return PrivateDescent(start, plan.learning_rate)
    return PrivateDescent.resumed(start, plan.learning_rate, resume)


def clipped_sum(draw: Draw, gradients: PatientGradients = stage_gradients) -> Clipped:
    """The sum over the drawn patients of each one's gradient, clipped to the plan's norm over all
    parameters together.

    Adding or removing one patient moves the sum by at most the clip norm. Where the device runs out of memory, the very
    same draw is summed again with less at once: another draw would make what is drawn depend on who is in it. Raises
    `torch.OutOfMemoryError` where the least at once is too much.
    """
    performance = draw.performance
    while True:
        try:
            return _summed(replace(draw, performance=performance), gradients)
        except torch.OutOfMemoryError:
            smaller = memory.next_smaller(performance)
            if smaller is None:
                raise
        performance = smaller
        _LOG.warning("the device is out of memory: this step is taken again with %s", performance)
        torch.cuda.empty_cache()  # does nothing where there is no GPU


def _summed(draw: Draw, gradients: PatientGradients) -> Clipped:
    clip_norm = draw.plan.mechanism.clip_norm
    total = clip_and_sum(
        {key: torch.zeros((0, *p.shape), device=p.device) for key, p in draw.parameters.items()}, clip_norm
    )
    for start in range(0, len(draw), draw.performance.patients):
        chunk = draw.part(range(start, min(start + draw.performance.patients, len(draw))))
        total = add(total, clip_and_sum(gradients(chunk), clip_norm))
    return total
