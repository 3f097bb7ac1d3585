"""One step's drawn patients, and all that their gradients are taken with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from client.model.experts import Experts
from client.tasks.sample import Sample
from client.training.batch import LoadInputs, Performance
from client.training.rollout import Sampler
from privacy.clip import Clipped
from privacy.plan import Plan


@dataclass(frozen=True)
class Draw:
    """samples[p] are patient p's drawn samples, at least one, and seeds[p] that patient's randomness.

    parameters: `expert::tensor` -> the live parameter, of all that trains in this step. tasks: those of the hospital's policy,
    which its router learns to tell apart. sampler: of rollouts.
    """

    experts: Experts
    parameters: Mapping[str, Tensor]
    samples: Sequence[Sequence[Sample]]
    seeds: Sequence[int]
    plan: Plan
    tasks: Collection[str]
    load_inputs: LoadInputs
    performance: Performance
    sampler: Sampler

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, patients: Sequence[int]) -> Draw:
        """These patients of the draw, by index."""
        return replace(
            self, samples=[self.samples[p] for p in patients], seeds=[self.seeds[p] for p in patients]
        )


# Each drawn patient's gradient, [P, ...] a parameter: `round.stage_gradients`, or an audit's stand-in. Row p depends on
# patient p alone; clipping is none of its business.
PatientGradients = Callable[[Draw], dict[str, Tensor]]
# The sum of the drawn patients' clipped gradients: `round.clipped_sum`, or `distributed.Team.clipped_sum`.
StepSum = Callable[[Draw], Clipped]
