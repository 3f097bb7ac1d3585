from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from client.model.base import Base
from client.model.experts import Experts
from client.model.forward import Prefix, Query, answer_logprobs, read
from client.selftest import sampling
from client.tasks.prompt import direct
from client.tasks.registry import TASKS
from client.tasks.sample import Polygon, Polygons, Sample, Text
from client.training import grpo, sft
from client.training.batch import Extent, Performance, micro_batches, padded
from client.training.cohort import too_long
from client.training.round import stage_gradients, train_round
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, plan, samples_of

PATIENTS = [sample for name in "abcdefgh" for sample in samples_of(name)]


@torch.no_grad()
def loss(experts: Experts, inputs: Inputs) -> float:
    values = []
    for sample in PATIENTS:
        visual = inputs([sample])[0]
        asked = Query(experts.prompts.prompt(direct(sample), visual), visual)
        with experts.only(sample.scale, None):
            ids = experts.prompts.answer(TASKS[sample.task].render(sample.answer))
            values.append(-float(answer_logprobs(experts, read(experts, [asked]), [ids])[0].mean()))
    return float(np.mean(values))


def test_a_round_without_noise_learns_and_returns_its_deltas(tiny_base: Path) -> None:
    """Would catch steps that go uphill or nowhere, weights not written back, and a delta that is not the
    change.
    """
    base = Base.load(tiny_base)
    experts = fresh(base)
    inputs = Inputs(base)
    before = {name: experts.export(name) for name in SFT}
    start = loss(experts, inputs)
    told: list[tuple[int, int]] = []
    asked = plan(base.hash, "sft", Mechanism(1.0, 0.0, 1.0, 12, 5), SFT)
    deltas = train_round(
        experts, SFT, PATIENTS, inputs, asked, 8, SeededRandom(0), lambda done, of: told.append((done, of))
    )
    assert loss(experts, inputs) < 0.7 * start
    assert told == [(step, 12) for step in range(1, 13)]
    assert set(deltas) == set(SFT)
    for name, delta in deltas.items():
        assert {key: value.shape for key, value in delta.tensors.items()} == experts.shapes(name)
        for key, value in experts.export(name).items():
            np.testing.assert_allclose(value - before[name][key], delta.tensors[key], atol=1e-6)


def test_a_round_draws_as_charged_for_and_adds_up_its_own_steps() -> None:
    """Would catch a rate 10 % off (power above 1 - 1e-12), a draw of a fixed size, one draw for all steps, a slide
    taken for a patient, a sum carried from step to step, and a mean over how many there are. A right round fails by
    chance five times in ten million. The planted faults: tests/unit/client/test_client_selftest_sampling.py.
    """
    assert sampling.findings("0" * 64, lambda step: None) == []


def test_a_round_trains_the_named_experts_only(tiny_base: Path) -> None:
    """Would catch a hospital that trains, and pays for, an expert that its policy forbids."""
    base = Base.load(tiny_base)
    experts = fresh(base)
    before = experts.export("scale/wsi")
    asked = plan(base.hash, "sft", Mechanism(1.0, 0.3, 1.0, 2, 5), SFT)
    deltas = train_round(
        experts, ["scale/roi"], PATIENTS, Inputs(base), asked, 8, SeededRandom(0), lambda done, of: None
    )
    assert set(deltas) == {"scale/roi"}
    assert all(np.array_equal(before[key], value) for key, value in experts.export("scale/wsi").items())


def test_an_empty_draw_steps_on_noise_alone(tiny_base: Path) -> None:
    """Would catch a step skipped when nobody was drawn: its absence would tell that nobody was."""
    base = Base.load(tiny_base)
    experts = fresh(base)
    asked = plan(base.hash, "sft", Mechanism(1.0, 1.0, 1e-6, 3, 5), SFT)
    steps: list[int] = []

    def never(samples: list[Sample]) -> list[object]:
        assert not samples, "nobody should be drawn at this rate"
        return []

    deltas = train_round(
        experts, SFT, PATIENTS, never, asked, 8, SeededRandom(0), lambda done, of: steps.append(done)
    )  # type: ignore[arg-type]
    assert steps == [1, 2, 3]
    assert all(value.any() for delta in deltas.values() for value in delta.tensors.values())


def test_speed_settings_do_not_change_the_step(tiny_base: Path) -> None:
    """Would catch a patient lost or counted twice between micro-batches or chunks of patients."""
    base = Base.load(tiny_base)
    asked = plan(base.hash, "sft", Mechanism(0.5, 0.0, 1.0, 1, 5), SFT)
    results = []
    for performance in (
        Performance(),
        Performance(patients=3, tokens=200, sampled_tokens=300),
        Performance(patients=1, tokens=1, sampled_tokens=1),
        Performance(checkpointing=True),
    ):
        deltas = train_round(
            fresh(base),
            SFT,
            PATIENTS,
            Inputs(base),
            asked,
            8,
            SeededRandom(0),
            lambda done, of: None,
            performance,
        )
        results.append(np.concatenate([v.ravel() for d in deltas.values() for v in d.tensors.values()]))
    # Adam's first step is the sign of the gradient: equal but for coordinates that are zero up to rounding.
    for other in results[1:]:
        assert (np.abs(results[0] - other) < 1e-4).mean() > 0.999


@pytest.mark.parametrize("stage", [sft, grpo])
def test_a_training_pass_keeps_to_its_tokens(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, stage: ModuleType
) -> None:
    """Catches a stage that batches without the budget, or by another one: the memory that it takes follows from the
    budget. A pass of one prompt and one answer may be longer."""
    prompts: list[int] = []
    passes: list[tuple[int, int]] = []  # tokens, padding and all; prompts

    def reading(experts: Experts, queries: Sequence[Query]) -> Prefix:
        prompts[:] = [len(query.prompt) for query in queries]
        return read(experts, queries)

    def scoring(
        experts: Experts, prefix: Prefix, answers: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = len(prompts) * max(prompts) + len(answers) * max(map(len, answers))
        passes.append((0 if len(answers) == 1 else tokens, len(prompts)))
        return answer_logprobs(experts, prefix, answers)

    monkeypatch.setattr(stage, "read", reading)
    monkeypatch.setattr(stage, "answer_logprobs", scoring)
    experts = fresh(Base.load(tiny_base))
    names = SFT if stage is sft else GRPO
    extra = {} if stage is sft else {"rollouts": 4, "kl_beta": 0.1, "max_answer_tokens": 8}
    asked = plan(
        experts.base.hash, "sft" if stage is sft else "grpo", Mechanism(1.0, 0.0, 1.0, 1, 5), names, **extra
    )
    drawn = [samples_of(name) for name in "abcdefgh"]
    inputs = Inputs(experts.base)
    for budget in (50, 400, 1200):  # less than a group takes; some of them; many
        passes.clear()
        performance = Performance(tokens=budget)
        stage_gradients(draw_of(experts, names, drawn, range(8), inputs, asked, performance))
        assert max(tokens for tokens, _ in passes) <= budget
    assert max(tokens for tokens, _ in passes) > 600
    assert max(count for _, count in passes) > 10


def test_micro_batches_hold_every_value_once() -> None:
    """Would catch a truncated draw: dropping patients to fit a batch breaks the accounting."""
    values = [(kind, size) for kind in "xyz" for size in (5, 1, 9, 2, 2, 7, 30)]
    cost = padded(lambda v: Extent(v[1], 2, v[1]))
    batches = list(micro_batches(values, lambda v: v[0], lambda v: v[1], 30, cost))
    assert sorted(v for batch in batches for v in batch) == sorted(values)
    assert all(len({kind for kind, _ in batch}) == 1 for batch in batches)
    assert all(cost(batch) <= 30 or len(batch) == 1 for batch in batches)
    assert any(len(batch) > 1 for batch in batches)
    assert [len(batch) for batch in micro_batches(values, lambda v: 0, lambda v: v[1], 5)] == [5, 5, 5, 5, 1]


def test_padding_counts() -> None:
    """Would catch a budget of real tokens: short rows beside a long one take as much memory as it does."""
    cost = padded(lambda extent: extent)
    assert cost([Extent(100)]) == 100
    assert cost([Extent(100), Extent(1)]) == 200
    assert cost([Extent(10, 1, 5), Extent(20, 4, 2)]) == 2 * 20 + 5 * 5


def test_what_is_too_long_trains_nothing(tiny_base: Path) -> None:
    """Catches a row whose length no bound of the memory planner knows: whether a round fits would tell who was drawn."""
    base = Base.load(tiny_base)
    inputs = Inputs(base)
    region = PATIENTS[0].region
    outlines = Polygons(tuple(Polygon(((i, 0), (i + 9, 0), (i + 9, 9))) for i in range(0, 900, 10)))
    long = [
        Sample("a", "a", region, "segmentation", "Outline them.", outlines),
        Sample("a", "a", region, "vqa", "Why? " * 60, Text("so")),
        Sample("z", "z", region, "vqa", "Which?", Text(" ".join(["all"] * 100))),
    ]
    mechanism = Mechanism(1.0, 0.5, 0.7, 2, 5)
    for bound, left_out in ((0, 3), (2048, 1)):  # of an answer; 0: as many as where nothing is said
        asked = plan(base.hash, "sft", mechanism, ("scale/roi",), max_answer_tokens=bound)
        experts = fresh(base)
        kept = [sample for sample in long if not too_long(experts, sample, asked)]
        assert len(long) - len(kept) == left_out
        deltas = []
        for samples in ((*PATIENTS, *long), (*PATIENTS, *kept)):
            found = train_round(
                fresh(base), ["scale/roi"], samples, inputs, asked, 8, SeededRandom(1), lambda done, of: None
            )
            deltas.append(found["scale/roi"].tensors)
        assert all(np.array_equal(value, deltas[1][key]) for key, value in deltas[0].items())
