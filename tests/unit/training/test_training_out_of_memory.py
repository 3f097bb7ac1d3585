"""Memory that runs out for one patient's sake: that patient is taken with less at once, and nobody else is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from client.model.base import Base
from client.training import grpo
from client.training.draw import Draw
from client.training.memory import LADDER
from client.training.round import clipped_sum, stage_gradients
from privacy.mechanism import Mechanism
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, plan, randomise, samples_of

CLIP_NORM = 1e-4  # everyone is clipped
OTHERS = "abcd"


def too_much(draw: Draw) -> bool:
    """Whether the patient z is in company, or alone with more at once than the least."""
    patients = [own[0].patient for own in draw.samples]
    return "z" in patients and (len(patients) > 1 or draw.performance.tokens > LADDER[-1].tokens)


@pytest.mark.parametrize(
    "precision", [pytest.param(torch.float32, marks=pytest.mark.nightly), torch.bfloat16], ids=str
)
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_patient_who_is_too_much_moves_the_sum_by_the_clip_norm(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, stage: str, precision: torch.dtype
) -> None:
    """Catches other patients who are sampled in other batches because one more was drawn: in bfloat16 the last bit then
    chooses other tokens, and their gradients are others (2.1 clip norms where everyone went down the ladder).
    """

    def gradients(draw: Draw) -> dict[str, Tensor]:
        if too_much(draw):
            raise torch.OutOfMemoryError("planted: tried to allocate 20 GiB")
        return stage_gradients(draw)

    monkeypatch.setattr(
        grpo, "reward", lambda task, text, sample: (sum(text.encode()) * 7 + len(text)) % 13 / 12
    )
    base = Base.load(tiny_base)
    base.model.to(precision)
    base.projector.to(torch.float32)
    experts, inputs = fresh(base), Inputs(base)
    names = SFT if stage == "sft" else GRPO
    randomise(experts, names, size=0.3)
    extra = {} if stage == "sft" else {"rollouts": 12, "kl_beta": 0.01, "max_answer_tokens": 128}
    asked = plan(base.hash, stage, Mechanism(CLIP_NORM, 1.0, 0.5, 1, 5), names, **extra)

    def summed(who: Sequence[str]) -> Tensor:
        drawn, seeds = [samples_of(name) for name in who], [ord(name) for name in who]
        total = clipped_sum(draw_of(experts, names, drawn, seeds, inputs, asked), gradients).total
        return torch.cat([total[name].flatten() for name in sorted(total)])

    moved = float((summed([*OTHERS, "z"]) - summed(OTHERS)).norm()) / CLIP_NORM
    assert moved == pytest.approx(1.0, abs=0.01)


def test_what_a_group_earned_is_told_once(tiny_base: Path) -> None:
    """Catches a curve of rewards in which the groups of failed tries count again."""
    base = Base.load(tiny_base)
    experts = fresh(base)
    asked = plan(
        base.hash, "grpo", Mechanism(1.0, 1.0, 0.5, 1, 5), GRPO, rollouts=2, kl_beta=0.0, max_answer_tokens=4
    )
    drawn = [samples_of(name) for name in "ab"]
    told: list[str] = []

    def gradients(draw: Draw) -> dict[str, Tensor]:
        return stage_gradients(draw, lambda task, rewards: told.append(task))

    with pytest.MonkeyPatch.context() as patch:
        passes = grpo.patient_gradients

        def runs_out(experts, parameters, patients, batches):  # type: ignore[no-untyped-def]
            if patients > 1:
                raise torch.OutOfMemoryError("planted")
            return passes(experts, parameters, patients, batches)

        patch.setattr(grpo, "patient_gradients", runs_out)
        clipped_sum(draw_of(experts, GRPO, drawn, [1, 2], Inputs(base), asked), gradients)
    assert sorted(told) == sorted(sample.task for own in drawn for sample in own)
