"""What one patient can move, measured on the code that trains: ||f(D) - f(D without p)|| / C, which must be
<= 1.

The same measurement must see each way in which the guarantee is known to break: advantages over the batch,
the batch's token count, a clip per sample, the realised batch size, the batch's median as clip norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from client.model.base import Base
from client.model.experts import Experts
from client.model.forward import Query
from client.tasks.sample import Box, Boxes, Region, Sample
from client.training import grpo, rollout, sft
from client.training.batch import Performance
from client.training.round import clipped_sum, stage_gradients
from privacy.mechanism import Mechanism
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, plan, samples_of

WHO = "abcd"
Drawn = dict[str, list[Sample]]  # patient -> samples
Sum = Callable[[Drawn], Tensor]  # one flat vector over all parameters
WHOLE_BATCH = Performance(patients=64, tokens=1 << 20)
SMALL_BATCHES = Performance(patients=3, tokens=500)


@dataclass
class Stage:
    """One stage at one set of weights."""

    kind: str
    experts: Experts
    inputs: Inputs
    max_rank: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return SFT if self.kind == "sft" else GRPO

    def sum(self, drawn: Drawn, clip: float, performance: Performance = SMALL_BATCHES) -> Tensor:
        """The trained code's clipped sum; a patient's seed is its own."""
        extra = {} if self.kind == "sft" else {"rollouts": 4, "kl_beta": 0.01, "max_answer_tokens": 6}
        mechanism = Mechanism(clip, 1.0, 0.5, 1, 5)
        asked = plan(self.experts.base.hash, self.kind, mechanism, self.names, **extra)
        samples, seeds = list(drawn.values()), [ord(patient[0]) for patient in drawn]
        draw = draw_of(
            self.experts, self.names, samples, seeds, self.inputs, asked, performance, self.max_rank
        )
        total = clipped_sum(draw).total
        return torch.cat([total[key].flatten() for key in sorted(total)])

    def gradient(self, patient: str, samples: list[Sample]) -> Tensor:
        """One patient's gradient, not clipped."""
        return self.sum({patient: samples}, clip=1e9)


def cohort(kind: str) -> Drawn:
    return {p: samples_of(p) if kind == "sft" else samples_of(p)[::2] for p in WHO}


def neighbours(drawn: Drawn) -> list[tuple[Drawn, Drawn]]:
    """Data sets with and without one patient: from the whole cohort, from a pair and from a single
    patient.
    """
    first, second = list(drawn)[:2]
    sets = [drawn, {p: drawn[p] for p in (first, second)}, {first: drawn[first]}]
    return [(whole, {q: s for q, s in whole.items() if q != p}) for whole in sets for p in whole]


def worst(function: Sum, pairs: Iterable[tuple[Drawn, Drawn]], clip: float) -> float:
    known: dict[tuple[str, ...], Tensor] = {}

    def value(drawn: Drawn) -> Tensor:
        if tuple(drawn) not in known:
            known[tuple(drawn)] = function(drawn)
        return known[tuple(drawn)]

    return max(float((value(whole) - value(less)).norm()) for whole, less in pairs) / clip


def clipped(gradients: Iterable[Tensor], clip: float, size: int) -> Tensor:
    total = torch.zeros(size, dtype=torch.float64)
    for gradient in gradients:
        total += gradient * min(1.0, clip / float(gradient.norm()))
    return total


@pytest.fixture(params=["sft", "grpo"])
def stage(request: pytest.FixtureRequest, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """With rewards that random text earns too, unlike from patient to patient."""

    def reward(task: object, text: str, sample: Sample) -> float:
        return (sum(text.encode()) * 7 + len(text)) % 13 / 12 * (1 + sum(sample.patient.encode()) % 3)

    monkeypatch.setattr(grpo, "reward", reward)
    base = Base.load(tiny_base)
    return Stage(request.param, fresh(base), Inputs(base))


@pytest.mark.parametrize("max_rank", [None, 2], ids=["whole", "of rank 2 in 4"])
def test_one_patient_moves_the_sum_by_at_most_the_clip_norm(stage: Stage, max_rank: int | None) -> None:
    """Would catch any dependence of one patient's gradient on another, and a norm not taken over all
    parameters, or over columns too that do not train: a patient would then count for less than it is charged.
    """
    stage.max_rank = max_rank
    drawn = cohort(stage.kind)
    clip = 0.3 * min(float(stage.gradient(p, s).norm()) for p, s in drawn.items())
    assert 0.99 < worst(lambda d: stage.sum(d, clip), neighbours(drawn), clip) <= 1.0 + 1e-4


def test_known_breaches_of_the_clip_are_seen(stage: Stage) -> None:
    """The measurement's power: clip per sample, realised mean and median clip norm all exceed the bound."""
    drawn = cohort(stage.kind)
    whole = {p: stage.gradient(p, s) for p, s in drawn.items()}
    single = {p: [stage.gradient(p, [sample]) for sample in s] for p, s in drawn.items()}
    size = len(next(iter(whole.values())))
    small = 0.3 * min(float(g.norm()) for rows in single.values() for g in rows)

    def per_sample(d: Drawn) -> Tensor:
        return clipped((g for p in d for g in single[p]), small, size)

    def realised_mean(d: Drawn) -> Tensor:
        return clipped((whole[p] for p in d), small, size) / max(1, len(d)) * len(WHO)

    pairs = neighbours(drawn)
    assert worst(per_sample, pairs, small) > 1.02
    assert worst(realised_mean, pairs, small) > 1.02

    ranked = sorted((g for rows in single.values() for g in rows), key=lambda g: float(g.norm()))
    alike = [ranked[-1], ranked[-1], ranked[0], ranked[0]]  # two patients of one kind, two of another
    medians = [median(float(g.norm()) for g in d) for d in (alike, alike[1:])]
    sums = [clipped(d, m, size) for d, m in zip((alike, alike[1:]), medians, strict=True)]
    assert float((sums[0] - sums[1]).norm()) > 1.02 * max(medians)


@pytest.mark.parametrize("stage", ["grpo"], indirect=True)
@pytest.mark.parametrize("shared", ["std", "mean"])
def test_advantages_normalised_over_the_batch_are_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    """Would catch rewards compared between patients, as batch-normalising variants of GRPO do."""
    groups = grpo._groups

    def over_the_batch(*args: object) -> list[grpo.Group]:
        made = groups(*args)  # type: ignore[arg-type]
        levels = [float(sum(g.item.sample.patient.encode()) % 3) for g in made for _ in g.advantages]
        values = torch.tensor([a for g in made for a in g.advantages]) + torch.tensor(levels)
        values = values - values.mean() if shared == "mean" else values / (values.std() + 1e-4) - values.std()
        rest = iter(values.tolist())
        return [
            grpo.Group(g.item, g.answers, g.counts, tuple(next(rest) for _ in g.advantages)) for g in made
        ]

    drawn = cohort(stage.kind)
    monkeypatch.setattr(grpo, "_groups", over_the_batch)
    clip = 0.3 * min(float(stage.gradient(p, s).norm()) for p, s in drawn.items())
    assert worst(lambda d: stage.sum(d, clip, WHOLE_BATCH), neighbours(drawn), clip) > 1.02


@pytest.mark.parametrize("stage", ["sft"], indirect=True)
def test_a_loss_divided_by_the_batchs_tokens_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch the token mean that most training code takes: a patient with long answers shrinks the
    others.
    """
    losses = sft._losses

    def token_mean(experts, batch, tasks, tape):  # type: ignore[no-untyped-def]
        lengths = torch.tensor([len(target.ids) for target in batch])
        return losses(experts, batch, tasks, tape) * lengths / lengths.sum()

    boxes = Boxes(tuple(Box(10 * i, 10 * i, 10 * i + 200, 10 * i + 300) for i in range(8)))
    drawn = {p: samples_of(p)[1:3] for p in WHO}
    drawn["z"] = [Sample("z", "z", Region(0, 0, 64, 64), "detection", "Box them.", boxes)]
    others = {p: drawn[p] for p in WHO}
    monkeypatch.setattr(sft, "_losses", token_mean)
    clip = float(stage.sum(others, 1e9, WHOLE_BATCH).norm()) / len(WHO)
    assert worst(lambda d: stage.sum(d, clip, WHOLE_BATCH), [(drawn, others)], clip) > 1.02


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_a_joiner_with_longer_questions_changes_nobody_elses_choices(
    stage: Stage, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype
) -> None:
    """Catches tokens chosen in a batch that others share: its padding and size change last bits, a bit decides a token,
    and a coordinator who picks the experts can put many patients at such a tie. In bfloat16, where bits are few, all
    gradients but the joiner's must be the same to the last bit; in float32 all choices must be.
    """
    base = Base.load(tiny_base)
    base.model.to(precision)
    base.projector.to(torch.float32)
    stage.experts, stage.inputs = fresh(base), Inputs(base)
    shared: list[int] = []
    for name in ("greedy", "sample"):
        chosen = getattr(rollout, name)

        def spy(experts: Experts, queries: Sequence[Query], *rest: object, of: Any = chosen) -> Any:
            shared.append(len({id(asked[id(query.visual)]) for query in queries}))
            return of(experts, queries, *rest)

        monkeypatch.setattr(rollout, name, spy)
    drawn = list(cohort(stage.kind).values())
    long = [replace(s, question=" ".join([s.question] * 6)) for s in samples_of("z")]
    asked = {id(visual): patient for patient in [*drawn, long] for visual in stage.inputs(patient)}
    extra = {} if stage.kind == "sft" else {"rollouts": 8, "kl_beta": 0.01, "max_answer_tokens": 24}
    told = plan(base.hash, stage.kind, Mechanism(1.0, 1.0, 0.5, 1, 5), stage.names, **extra)

    def gradients(who: list[list[Sample]]) -> dict[str, Tensor]:
        seeds = list(range(len(who)))
        return stage_gradients(draw_of(stage.experts, stage.names, who, seeds, stage.inputs, told))

    without, among = gradients(drawn), gradients([*drawn, long])
    assert set(shared) == {1}
    for key, value in without.items():
        if precision == torch.bfloat16:
            assert torch.equal(among[key][:-1], value), key
        else:
            torch.testing.assert_close(among[key][:-1], value, rtol=1e-4, atol=1e-6)
