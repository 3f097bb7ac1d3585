from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.forward import Query
from client.tasks.grammar import ANSWER_ENDS
from client.tasks.prompt import thinking
from client.training import grpo, memory, rollout
from client.training.batch import Item, items
from client.training.round import train_round
from privacy.experts import EXPERTS, same_form
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, norm, plan, randomise, samples_of


def test_advantages_are_relative_to_their_own_group() -> None:
    """Would catch a missing floor (equal rewards divide by zero), a mean over more than the group, or equal rewards whose
    mean is rounded to another number."""
    for equal in (0.5, 0.1):
        assert grpo.advantages([equal] * 3) == (0.0, 0.0, 0.0)
    values = grpo.advantages([1.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(values, np.array([1, -1, -1, 1]) * 0.5 / (0.5 + 1e-4))


def test_the_kl_term_is_zero_at_the_start_and_its_gradient_too(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch a reference that is not the policy without its task expert: with B = 0 they are one."""
    experts = fresh(Base.load(tiny_base))
    for name in GRPO:
        experts.load(name, experts.initial(name))
    monkeypatch.setattr(
        grpo, "reward", lambda task, text, sample: 1.0
    )  # no advantage: the KL term alone is left
    seen: list[torch.Tensor] = []
    token_losses = grpo.token_losses

    def watch(*args: object) -> torch.Tensor:
        losses = token_losses(*args)  # type: ignore[arg-type]
        seen.append(losses.detach())
        return losses

    monkeypatch.setattr(grpo, "token_losses", watch)
    settings = grpo.Settings(rollouts=4, kl_beta=1.0, max_answer_tokens=8)
    drawn = [samples_of("a"), samples_of("b")]
    trained = experts.trainable(GRPO)
    inputs = Inputs(experts.base)
    start = grpo.gradients(draw_of(experts, GRPO, drawn, [1, 2], inputs), settings)
    assert max(float(losses.abs().max()) for losses in seen) < 1e-9
    assert norm(start) < 1e-4
    fresh_weights = {key: 0.1 * torch.randn_like(value) for key, value in trained.items()}
    experts.write(fresh_weights)
    seen.clear()
    grpo.gradients(draw_of(experts, GRPO, drawn, [1, 2], inputs), settings)
    assert max(float(losses.max()) for losses in seen) > 1e-4
    assert min(float(losses.min()) for losses in seen) > -1e-9  # exp(d) - d - 1 is never negative


def test_without_kl_a_group_of_equal_rewards_adds_nothing(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch a shortcut that changes the gradient, or that loses the patient's row."""
    experts = fresh(Base.load(tiny_base))
    monkeypatch.setattr(
        grpo, "reward", lambda task, text, sample: float(sample.patient == "a" and len(text) % 2)
    )
    settings = grpo.Settings(rollouts=4, kl_beta=0.0, max_answer_tokens=8)
    drawn = [samples_of("a"), samples_of("b")]
    inputs = Inputs(experts.base)
    found = grpo.gradients(draw_of(experts, GRPO, drawn, [1, 2], inputs), settings)
    assert all(value.shape[0] == 2 for value in found.values())
    assert norm({key: value[0] for key, value in found.items()}) > 0
    assert norm({key: value[1] for key, value in found.items()}) == 0


def test_rollouts_are_of_the_expert_whose_gradient_is_taken(tiny_base: Path) -> None:
    """Catches rollouts of another task's expert, of none, or of a mixture, where tasks share a sampling batch: the ratio
    would not be 1, and the gradient nobody's. The experts are strong enough to say unlike things."""
    experts = fresh(Base.load(tiny_base))
    randomise(experts, GRPO, size=1.0)
    settings = grpo.Settings(rollouts=3, kl_beta=0.0, max_answer_tokens=8)
    drawn, seeds, inputs = [samples_of("a"), samples_of("b")[1:]], [5, 6], Inputs(experts.base)
    rows = items(drawn, inputs, experts.prompts, thinking)
    groups = grpo._groups(
        draw_of(experts, GRPO, drawn, seeds, inputs), rows, settings, lambda task, rewards: None
    )
    found = {(g.item.patient, g.item.sample): g for g in groups}
    assert len(found) == len(rows)
    streams = [np.random.Generator(np.random.Philox(seed)) for seed in seeds]
    stop, unlike = experts.prompts.stop(ANSWER_ENDS), 0
    for row in rows:
        uniforms = torch.from_numpy(streams[row.patient].random((1, 3, 8)))

        def by(task: str | None, row: Item = row, uniforms: torch.Tensor = uniforms) -> list[tuple[int, ...]]:
            with experts.only(row.sample.scale, task):
                (answers,) = rollout.sample(experts, [row.query], uniforms, stop)
            return sorted(map(tuple, answers))

        group = found[row.patient, row.sample]
        written = [ids for ids, count in zip(group.answers, group.counts, strict=True) for _ in range(count)]
        own = by(row.sample.task)
        assert sorted(written) == own
        unlike += own not in (by("vqa" if row.sample.task != "vqa" else "classification"), by(None))
    assert unlike > len(rows) // 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("idle", [True, False], ids=["others idle", "none idle"])
@pytest.mark.parametrize("trained", [GRPO[3:], GRPO[:1], GRPO[2:], GRPO], ids=len)
def test_sampling_holds_what_the_planner_says(
    tiny_base: Path, trained: tuple[str, ...], idle: bool, dtype: torch.dtype
) -> None:
    """Catches one task's expert held as factors where it could be one matrix with the base's, and experts held that are
    attached but don't train, of which the planner knows nothing: a round that is said to fit and does not.
    """
    base = Base.load(tiny_base)
    base.model.to(dtype)
    base.projector.to(torch.float32)
    experts = attach(base, same_form(EXPERTS if idle else (*SFT, *trained), 4, 8.0), seed=7)
    drawn = [[sample for sample in samples_of("a") if f"task/{sample.task}" in trained]]
    held: dict[str, int] = {}

    def sampler(experts: Experts, queries: Sequence[Query], *rest: object) -> list[list[list[int]]]:
        stacks = [layer.held for layer in experts.layers if layer.held is not None]
        whole = [layer.whole for layer in experts.layers if layer.whole is not None]
        held[experts.active[0]] = memory.resident([*whole, *(part for s in stacks for part in (s.a, s.b))])
        return [[[1], [2]] for _ in queries]

    draw = replace(draw_of(experts, trained, drawn, [1], Inputs(base)), sampler=sampler)
    rows = items(drawn, draw.load_inputs, experts.prompts, thinking)
    grpo._groups(draw, rows, grpo.Settings(2, 0.0, 4), lambda task, rewards: None)
    said = memory._held(memory.Decoder.of(base), 4, len(trained))
    assert held["scale/roi"] == max(held.values()) == said


def test_scale_experts_are_byte_identical_after_rl(tiny_base: Path) -> None:
    """Would catch RL that moves the scale experts, the projector or the base under the task experts."""
    base = Base.load(tiny_base)
    experts = fresh(base)
    before = {name: experts.export(name) for name in (*SFT, *GRPO)}
    weights = {key: value.clone() for key, value in base.model.state_dict().items()}
    asked = plan(
        base.hash, "grpo", Mechanism(1.0, 0.5, 1.0, 2, 5), GRPO, rollouts=2, kl_beta=0.1, max_answer_tokens=6
    )
    patients = [sample for name in "abc" for sample in samples_of(name)]
    train_round(experts, GRPO, patients, Inputs(base), asked, 3, SeededRandom(0), lambda done, of: None)
    for name in SFT:
        assert all(np.array_equal(before[name][key], value) for key, value in experts.export(name).items())
    for name in GRPO:
        assert any((before[name][key] != value).any() for key, value in experts.export(name).items())
    after = base.model.state_dict()
    assert all(torch.equal(weights[key], after[key]) for key in weights if ".lora_" not in key)


def test_a_group_in_parts_has_every_answer_once_and_its_own_advantages(tiny_base: Path) -> None:
    """Catches a long group that breaks the token budget, answers lost, and advantages relative to a part."""
    experts = fresh(Base.load(tiny_base))
    (item,) = items([samples_of("a")[:1]], Inputs(experts.base), experts.prompts, thinking)
    whole = grpo.group(item, [[i] * (10 + i) for i in range(8)], [i / 8 for i in range(8)])
    prompt = len(item.query.prompt)
    for tokens in (1, prompt + 20, prompt + 40, 10_000):
        split = grpo.parts(whole, tokens)
        assert [ids for part in split for ids in part.answers] == list(whole.answers)
        assert [a for part in split for a in part.advantages] == list(whole.advantages)
        assert sum(sum(part.counts) for part in split) == 8
        assert all(
            len(part.answers) == 1 or prompt + len(part.answers) * max(map(len, part.answers)) <= tokens
            for part in split
        )
    assert len(grpo.parts(whole, 10_000)) == 1
    assert len(grpo.parts(whole, 1)) == 8
