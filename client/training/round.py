"""A round of private training at one hospital: S noised steps from the experts as sent, to one delta an
expert.

A question that is longer than `PROMPT_TOKENS`, or whose true answer SFT would have to learn is longer than the plan's
longest, trains nothing. So what a round needs of memory has a public bound, whoever is drawn: `client.training.memory`.

After each step the caller may keep the descent's state, and hand it in again where the process died: the round goes
on with the next step, under the same reservation (`privacy.checkpoint` says why that costs nothing).

With the same seeds a round is the same, bit for bit, on a CPU. A GPU adds some sums in no fixed order (torch's `index_add`), and
no promise rests on that it repeats.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import reduce

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
    """Each patient's gradient of the loss of the plan's stage. `rewarded`, as `grpo.gradients` has it, is told once all is
    well: of each group once, though memory may run out and the draw be taken again.
    """
    if draw.plan.stage == "sft":
        return sft.gradients(draw)
    plan = draw.plan
    settings = grpo.Settings(plan.rollouts, plan.kl_beta, plan.max_answer_tokens)
    groups: list[tuple[str, Sequence[float]]] = []
    found = grpo.gradients(draw, settings, lambda task, rewards: groups.append((task, rewards)))
    for task, rewards in groups:
        rewarded(task, rewards)
    return found


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
    step_sum: StepSum | None = None,
    resume: StepState | None = None,
    keep: Keep = lambda state: None,
    max_rank: int | None = None,
    tasks: Collection[str] = tuple(TASKS),
    sampler: Sampler = rollout.sample,
) -> dict[str, ExpertDelta]:
    """Train the `trained` experts (those of the plan that the hospital allows) by the plan's mechanism, from the
    weights that they hold.

    Exactly `plan.mechanism.steps` steps are taken, an empty draw's too; each divides by the public
    `sampling_rate * nominal_patients`. Samples that train none of the experts, or are too long, are left out. `progress(step,
    of)` is told of each step's end, after `keep` had the state; `resume` is such a state of this very round, whose
    steps are not taken again. `step_sum` takes the place of `clipped_sum`. With `max_rank` the first columns of each B
    train, so many at most, and the deltas hold these alone. `tasks` are those of the hospital's policy, which its router
    learns to tell apart, and `sampler` samples rollouts. Afterwards the experts hold the trained weights.
    """
    mechanism = plan.mechanism
    cohort = cohort_of(
        experts, trained, samples, load_inputs, plan, performance, max_rank, tasks=tasks, sampler=sampler
    )
    descent = _descent(cohort.parameters, plan, resume)
    experts.write(descent.parameters)
    for step in range(descent.steps_taken, mechanism.steps):
        draw = cohort.draw(random)
        clipped = (step_sum or clipped_sum)(draw)
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

    Adding or removing one patient moves the sum by at most the clip norm. Where the device runs out of memory, fewer of the
    very same draw are taken at once: another draw would make what is drawn depend on who is in it. How much of one patient is
    computed at once, which below float32 decides tokens, changes for that patient alone who is too much by itself: whoever
    is drawn, all others' gradients stay as they were. Raises `torch.OutOfMemoryError` where the least is too much.
    """
    size = draw.performance.patients
    none = {key: torch.zeros((0, *p.shape), device=p.device) for key, p in draw.parameters.items()}
    total = clip_and_sum(none, draw.plan.mechanism.clip_norm)
    for start in range(0, len(draw), size):
        total = add(total, _summed(draw.part(range(start, min(start + size, len(draw)))), gradients))
    return total


def _summed(draw: Draw, gradients: PatientGradients) -> Clipped:
    """Of at least one patient: all at once, else one half and then the other, down to one patient in smaller batches."""
    try:
        return clip_and_sum(gradients(draw), draw.plan.mechanism.clip_norm)
    except torch.OutOfMemoryError:
        halves = _with_less_at_once(draw)
        if not halves:
            raise
    torch.cuda.empty_cache()  # does nothing where there is no GPU
    return reduce(add, [_summed(half, gradients) for half in halves])


def _with_less_at_once(draw: Draw) -> list[Draw]:
    """The draw in parts that need less memory each; none where no less can be computed at once."""
    if (middle := len(draw) // 2) > 0:
        _LOG.warning("the device is out of memory: %d patients are taken in two parts", len(draw))
        return [draw.part(range(middle)), draw.part(range(middle, len(draw)))]
    smaller = memory.next_smaller(draw.performance)
    if smaller is None:
        return []
    _LOG.warning("the device is out of memory: one patient is taken again with %s", smaller)
    return [replace(draw, performance=smaller)]
