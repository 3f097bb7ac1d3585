"""A hospital of a lower rank: the first columns of each B train, and nothing is computed, held, moved or told of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from client.model.base import Base
from client.model.errors import ExpertError
from client.model.experts import Experts
from client.model.patient_gradients import GradientTape
from client.training import grpo
from client.training.round import stage_gradients, train_round
from privacy.descent import ExpertDelta, StepState
from privacy.errors import MechanismError
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import RandomSource, SeededRandom
from privacy.ranks import first_columns, is_b
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, plan, samples_of

RANK, WHOLE = 2, 4
PATIENTS = [sample for name in "abcd" for sample in samples_of(name)]


@pytest.fixture
def experts(tiny_base: Path) -> Experts:
    """With weights in every column."""
    return fresh(Base.load(tiny_base))


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_gradients_are_the_first_columns_of_the_whole_ones(
    experts: Experts, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Catches columns of another expert in the stack, and a forward pass that lacks those that do not train."""
    monkeypatch.setattr(grpo, "reward", lambda task, text, sample: sum(text.encode()) % 11 / 10)
    names, extra = (SFT, {}) if stage == "sft" else (GRPO, {"rollouts": 4, "max_answer_tokens": 6})
    asked = plan(experts.base.hash, stage, Mechanism(1.0, 1.0, 0.5, 1, 5), names, **extra)
    drawn, inputs = [samples_of("a"), samples_of("b")[:3]], Inputs(experts.base)
    whole, lower = (
        stage_gradients(draw_of(experts, names, drawn, [1, 2], inputs, asked, max_rank=rank))
        for rank in (None, RANK)
    )
    assert set(whole) == set(lower)
    for key, value in lower.items():
        wanted = whole[key][..., :RANK] if is_b(key) else whole[key]
        assert is_b(key) or "router" in key or "projector" in key
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-7)
    assert any(value.any() for key, value in lower.items() if is_b(key))


def test_the_tape_neither_holds_nor_is_given_the_other_columns(
    experts: Experts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches gradients of all columns that are cut afterwards: memory and time of the whole rank."""
    given: set[int] = set()
    add = GradientTape.add

    def seen(tape: GradientTape, key: str, per_row: torch.Tensor, rows: torch.Tensor) -> None:
        if is_b(key):
            given.add(per_row.shape[-1])
            assert tape.gradients[key].shape[-1] == RANK
        add(tape, key, per_row, rows)

    monkeypatch.setattr(GradientTape, "add", seen)
    stage_gradients(
        draw_of(experts, SFT, [samples_of("a")], [1], Inputs(experts.base), max_rank=RANK),
    )
    assert given == {RANK}


def round_of(
    experts: Experts,
    asked: Plan,
    random: RandomSource,
    resume: StepState | None = None,
    kept: list[StepState] | None = None,
    max_rank: int = RANK,
) -> dict[str, ExpertDelta]:
    """A round at this hospital; with `kept`, it dies after its second step."""

    def keep(state: StepState) -> None:
        if kept is not None and state.steps == 2:
            kept.append(state)
            raise KeyboardInterrupt

    return train_round(
        experts,
        asked.experts,
        PATIENTS,
        Inputs(experts.base),
        asked,
        8,
        random,
        lambda done, of: None,
        resume=resume,
        keep=keep,
        max_rank=max_rank,
    )


def test_a_round_moves_and_tells_of_the_first_columns_only(experts: Experts) -> None:
    """Catches noise in columns that nobody asked for, columns set to zero, and deltas of the whole rank."""
    before = {name: experts.export(name) for name in SFT}
    deltas = round_of(
        experts, plan(experts.base.hash, "sft", Mechanism(1.0, 1.0, 0.5, 2, 5), SFT), SeededRandom(0)
    )
    for name, delta in deltas.items():
        shapes = {key: value.shape for key, value in delta.tensors.items()}
        assert shapes == first_columns(experts.shapes(name), RANK)
        for key, value in experts.export(name).items():
            was, moved = before[name][key], value
            if is_b(key):
                assert moved[:, RANK:].tobytes() == was[:, RANK:].tobytes()
                was, moved = was[:, :RANK], moved[:, :RANK]
            np.testing.assert_allclose(moved - was, delta.tensors[key], atol=1e-6)
            assert np.all(delta.tensors[key] != 0)


@pytest.mark.parametrize("max_rank", [WHOLE, WHOLE + 1])
def test_a_bound_above_the_plans_rank_trains_the_whole_expert(tiny_base: Path, max_rank: int) -> None:
    """Catches a bound that changes what it does not bind."""
    base = Base.load(tiny_base)
    asked = plan(base.hash, "sft", Mechanism(1.0, 0.0, 0.5, 1, 5), SFT)
    bound = round_of(fresh(base), asked, SeededRandom(0), max_rank=max_rank)
    free = train_round(
        fresh(base), SFT, PATIENTS, Inputs(base), asked, 8, SeededRandom(0), lambda done, of: None
    )
    for name, delta in free.items():
        assert {k: v.tobytes() for k, v in delta.tensors.items()} == {
            k: v.tobytes() for k, v in bound[name].tensors.items()
        }


@pytest.mark.parametrize(
    ("stage", "trained", "extra"),
    [("sft", SFT, {}), ("grpo", GRPO, {"rollouts": 4, "kl_beta": 0.04, "max_answer_tokens": 8})],
    ids=["sft", "grpo"],
)
def test_a_round_goes_on_from_a_step_of_the_same_rank_and_of_no_other(
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    trained: tuple[str, ...],
    extra: dict[str, float],
) -> None:
    """Catches a descent that goes on with the whole B's, or moments of other columns; in RL also a policy that samples from, or
    is held to, other weights than before the cut.
    """
    monkeypatch.setattr(grpo, "reward", lambda task, text, sample: sum(text.encode()) % 11 / 10)
    base = Base.load(tiny_base)
    asked = plan(base.hash, stage, Mechanism(1.0, 0.05, 0.5, 3, 5), trained, **extra)
    straight = round_of(fresh(base), asked, SeededRandom(0))
    random, kept = SeededRandom(0), list[StepState]()
    with pytest.raises(KeyboardInterrupt):
        round_of(fresh(base), asked, random, kept=kept)
    with pytest.raises(MechanismError, match="other parameters"):
        round_of(fresh(base), asked, SeededRandom(0), resume=kept[0], max_rank=RANK + 1)
    resumed = round_of(fresh(base), asked, random, resume=kept[0])
    for name, delta in straight.items():
        for key, value in delta.tensors.items():
            np.testing.assert_array_equal(value, resumed[name].tensors[key])


def test_other_columns_than_the_first_can_not_be_written(experts: Experts) -> None:
    """Catches values that are cut to fit, or spread over a parameter."""
    b = next(iter(experts.trainable(["scale/roi"])))
    right = torch.ones(experts.trainable(["scale/roi"])[b].shape[0], RANK)
    experts.write({b: right})
    assert torch.equal(experts.trainable(["scale/roi"])[b][:, :RANK], right)
    for wrong in (right[1:], right[:, 0], torch.ones(len(right), WHOLE + 1)):
        with pytest.raises(ExpertError):
            experts.write({b: wrong})
    router = experts.router.weight
    with pytest.raises(ExpertError):
        experts.write({experts.router.key: router[:, :RANK]})
