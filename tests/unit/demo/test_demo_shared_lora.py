"""The ablation of one LoRA for everything, and the free questions that the router is asked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from client.model.base import Base
from client.model.experts import Experts
from client.training import grpo, sft
from demo.arms import fresh as demo_fresh
from demo.arms import plan_of
from demo.base_data import PublicTissue
from demo.free_questions import FREE, found_task
from demo.recipe import STUDY
from demo.shared_lora import SHARED, SharedLora
from privacy.experts import EXPERTS, TASKS
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, norm, randomise, samples_of


def test_one_lora_serves_and_learns_under_every_name(tiny_base: Path) -> None:
    """Catches a scale or task whose gradient is lost, and a second LoRA that trains beside the shared one."""
    recipe = STUDY
    experts = SharedLora.fresh(Base.load(tiny_base), recipe)
    assert experts.names == (SHARED,)
    randomise(experts, [SHARED])
    inputs = Inputs(experts.base)
    by_scale = {scale: [s for s in samples_of("a") if s.scale == scale] for scale in ("roi", "wsi")}
    for scale, samples in by_scale.items():
        with experts.only(scale, samples[0].task):
            assert experts.active == (SHARED,)
        found = sft.gradients(draw_of(experts, SFT, [samples], [1], inputs))
        assert {key.split("::")[0] for key in found} == {SHARED}
        assert norm(found) > 0
    settings = grpo.Settings(rollouts=4, kl_beta=0.0, max_answer_tokens=6)
    found = grpo.gradients(draw_of(experts, GRPO, [samples_of("a")], [1], inputs), settings)
    assert {key.split("::")[0] for key in found} == {SHARED}
    with experts.only(None, None):
        assert experts.active == ()
    for stage in recipe.stages:
        told = plan_of(experts, stage, recipe, 1)
        assert set(experts.trainable(told.restricted(EXPERTS))) == set(experts.trainable([SHARED]))


def test_the_shared_lora_is_as_large_as_all_experts_together(tiny_base: Path) -> None:
    """Catches an ablation that is worse, or better, for its size."""
    base = Base.load(tiny_base)

    def size(experts: Experts, names: Collection[str]) -> int:
        return sum(p.numel() for k, p in experts.trainable(names).items() if "lora" in k)

    together = size(demo_fresh(base, STUDY), STUDY.forms)
    (form,) = (shared := SharedLora.fresh(base, STUDY)).forms.values()
    assert abs(size(shared, [SHARED]) - together) <= size(shared, [SHARED]) / form.rank / 2
    assert form.alpha / form.rank == STUDY.alpha / STUDY.rank


def test_no_free_wording_is_one_of_the_manifests(tiny_base: Path) -> None:
    """Catches free questions that the router was trained on, and a task that nobody asks about."""
    drawn = PublicTissue(1, 12, 6).batch(np.random.default_rng(1))
    own = {asked.prompt.split("\n")[0] for asked in drawn.rois + drawn.wsis}
    free = [text for tasks in FREE.values() for texts in tasks.values() for text in texts]
    assert len(set(free)) == len(free)
    assert len(own) >= 8
    assert not own & set(free)
    assert {(task, scale) for scale, tasks in FREE.items() for task in tasks} == {
        (task, scale) for task, scales in TASKS.items() for scale in scales
    }
    experts = fresh(Base.load(tiny_base))
    shares = found_task(experts, samples_of("a"), Inputs(experts.base), FREE)
    assert {(scale, task) for scale, tasks in shares.items() for task in tasks} == {
        (scale, task) for scale, tasks in FREE.items() for task in tasks
    }
    assert all(0 <= share <= 1 for tasks in shares.values() for share in tasks.values())
