"""The memory planner beside measured peaks: never too low, and not far too high."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.evaluation import answers
from client.model.base import Base
from client.model.experts import attach
from client.model.stop import Stop
from client.model.visual import Visual, encode_images
from client.training import grpo, memory
from client.training.batch import Performance
from client.training.round import clipped_sum
from privacy.experts import EXPERTS, same_form
from privacy.mechanism import Mechanism
from privacy.ranks import first_columns
from tests.live_memory import LiveMemory
from tests.model_cases import GRPO, SFT, Inputs, draw_of, plan, randomise, samples_of
from tests.tiny_base import Size, write_tiny_base
from tests.tiny_families import FAMILIES

FACTOR = 4
PATIENTS = 6
MID = Size(text=192, text_layers=4, heads=8, kv_heads=4)
GROUPED = Size(text=256, text_layers=6, heads=8, kv_heads=2, image=128)


def test_live_memory_counts_what_is_alive_once() -> None:
    """The measurement: a view costs nothing, what has gone is gone, and a backward pass' buffers count."""
    with LiveMemory() as live:
        a = torch.zeros(1000)
        view = a.view(10, 100)
        assert live.now == 4000
        del a
        assert live.now == 4000
        del view
        assert live.now == 0
        x = torch.ones(1000, requires_grad=True)
        x.exp().exp().sum().backward()
        assert live.now == 8000
    assert 16_000 <= live.peak <= 24_100


@dataclass(frozen=True)
class Case:
    """A base's size, a stage, how much is computed at once, and how many columns of rank 8 train (None: all)."""

    size: Size
    stage: str
    performance: Performance
    max_rank: int | None = None

    def __str__(self) -> str:
        checkpointing = "checkpointed" if self.performance.checkpointing else "kept"
        return f"{self.size.text}-{self.stage}-{self.performance.tokens}-{checkpointing}-{self.max_rank or 8}"


CASES = [
    pytest.param(
        Case(size, stage, Performance(PATIENTS, tokens, 2048, checkpointing)),
        marks=[pytest.mark.nightly]
        if size is GROUPED or tokens == 1024 or (stage, checkpointing) == ("grpo", False)
        else [],
    )
    for size in (MID, GROUPED)
    for stage in ("sft", "grpo")
    for tokens, checkpointing in ((2048, False), (2048, True), (1024, True))
] + [Case(MID, "sft", Performance(PATIENTS, 2048, 2048), 2)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_peak_is_at_most_the_need_and_at_least_a_quarter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """Catches a round that is said to fit and does not, and one that is refused though it would by far."""
    monkeypatch.setattr(grpo, "reward", lambda task, text, sample: len(text) % 7 / 7)
    base = Base.load(write_tiny_base(tmp_path / "base", case.size))
    experts = attach(base, same_form(EXPERTS, 8, 8.0), seed=7)
    randomise(experts, EXPERTS)
    names = SFT if case.stage == "sft" else GRPO
    extra = {} if case.stage == "sft" else {"rollouts": 4, "kl_beta": 0.04, "max_answer_tokens": 24}
    asked = plan(base.hash, case.stage, Mechanism(1.0, 1.0, 0.5, 1, 5), names, **extra)
    trained = experts.trainable(names, case.max_rank)
    inputs = Inputs(base)
    drawn = [samples_of(f"{i}p") for i in range(PATIENTS)]
    inputs([sample for samples in drawn for sample in samples])
    with LiveMemory() as live:
        clipped_sum(
            draw_of(experts, names, drawn, range(PATIENTS), inputs, asked, case.performance, case.max_rank)
        )
    need = memory.need(
        memory.Decoder.of(base),
        0,
        {name: tuple(value.shape) for name, value in trained.items()},
        8,
        case.performance,
        5,
        asked.rollouts,
        asked.longest_answer,
    )
    said = need.more - need.descent
    assert live.peak <= said <= FACTOR * live.peak, f"{need}, measured {memory.gibibytes(live.peak)}"


def test_checkpointing_and_smaller_budgets_need_less(tiny_base: Path) -> None:
    """Catches a ladder whose next rung is no way down."""
    base = Base.load(tiny_base)
    shapes = memory.expert_shapes(base, GRPO, 16)
    decoder = memory.Decoder.of(base)
    needs = [memory.need(decoder, 0, shapes, 16, rung, 8, 8, 256).more for rung in memory.LADDER]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) > 3


def test_fewer_columns_need_fewer_gradients_and_as_much_of_all_else(tiny_base: Path) -> None:
    """Catches a plan of rank 16 that is reckoned as of rank 4, or refused, where four columns of it train."""
    base = Base.load(tiny_base)
    shapes, decoder = memory.expert_shapes(base, GRPO, 16), memory.Decoder.of(base)
    whole, lower = (
        memory.need(decoder, 0, trained, 16, Performance(), 8, 8, 256)
        for trained in (shapes, first_columns(shapes, 4))
    )
    assert 4 * lower.gradients == whole.gradients
    assert 4 * lower.descent == whole.descent
    assert (lower.sampling, lower.logits) == (whole.sampling, whole.logits)
    assert 0.5 * whole.activations < lower.activations < whole.activations


def test_a_round_that_fits_nowhere_is_refused_and_says_what_to_do(tiny_base: Path) -> None:
    """Catches training that the kernel ends; and a machine with room that is set to crawl."""
    base = Base.load(tiny_base)
    shapes, decoder = memory.expert_shapes(base, GRPO, 16), memory.Decoder.of(base)
    assert memory.fitting(decoder, 0, shapes, 16, 1 << 40, None, 8, 0, 256)[0] == Performance()
    slow, need = memory.fitting(decoder, 0, shapes, 16, 1 << 26, None, 8, 0, 256)
    assert slow != Performance()
    assert need.more + need.inputs <= 1 << 26
    with pytest.raises(memory.DeviceMemoryError, match="smaller base"):
        memory.fitting(decoder, 0, shapes, 16, 1 << 16, None, 8, 0, 256)


def test_inputs_are_reckoned_with_where_they_lie(tiny_base: Path) -> None:
    """Catches a GPU machine whose own memory the inputs of 64 patients fill: the kernel ends that process, for whose
    questions were drawn.
    """
    base = Base.load(tiny_base)
    shapes, decoder = memory.expert_shapes(base, GRPO, 16), memory.Decoder.of(base)
    ample, few = memory.LADDER[0], memory.LADDER[-1]
    least = memory.need(decoder, 0, shapes, 16, few, 8, 8, 256).inputs
    assert memory.fitting(decoder, 0, shapes, 16, 1 << 40, 1 << 40, 8, 8, 256)[0] == ample
    assert memory.fitting(decoder, 0, shapes, 16, 1 << 40, least, 8, 8, 256)[0] == few
    with pytest.raises(memory.DeviceMemoryError, match="for inputs"):
        memory.fitting(decoder, 0, shapes, 16, 1 << 40, least - 1, 8, 8, 256)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_input_is_larger_than_is_reckoned(tmp_path: Path, family: str) -> None:
    """Catches deepstack layers, or a slide's features, that the planner does not know of."""
    FAMILIES[family](tmp_path)
    base = Base.load(tmp_path)
    side = base.scales.roi_pixels
    image = base.fit(np.zeros((side, side, 3), dtype=np.uint8))
    (region,) = encode_images(base, [image])
    slide = torch.zeros(base.scales.wsi_max_tokens, base.projector.inner.in_features, dtype=base.model.dtype)
    assert memory.Decoder.of(base).shown == max(region.nbytes, Visual(slide).nbytes)


@pytest.mark.parametrize("rows", [4, pytest.param(32, marks=pytest.mark.nightly)])
def test_answers_take_at_most_what_they_need_and_at_least_a_quarter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Catches an evaluation that is said to fit and does not: it would end, charged, for the sake of one patient who has many
    questions of a kind. Questions and answers are as long as they may be.
    """
    base = Base.load(write_tiny_base(tmp_path / "base", MID))
    experts = attach(base, same_form(EXPERTS, 8, 8.0), seed=7)
    randomise(experts, EXPERTS)
    asked = [replace(samples_of("a")[1], question="Why? " * count) for count in range(1, 100)]
    (*_, sample) = [s for s in asked if experts.lengths(s)[0] <= memory.PROMPT_TOKENS]
    inputs = Inputs(base)
    inputs([sample])
    monkeypatch.setattr(answers, "ends", lambda experts, mode: Stop(-1))
    with LiveMemory() as live:
        answers.answer(experts, [sample] * rows, inputs, answers.Asking("direct", 64), rows=rows)
    monkeypatch.setattr(memory, "ROWS", (rows,))
    _, need = memory.answering(memory.Decoder.of(base), 0, 8, 4, 1 << 40, None, 64)
    said = need.more - need.encoding
    assert live.peak <= said <= FACTOR * live.peak, f"{need}, measured {memory.gibibytes(live.peak)}"


def test_as_many_questions_are_asked_at_once_as_fit(tiny_base: Path) -> None:
    """Catches 128 questions of one patient in a pass, whatever the device; and a refusal that says nothing."""
    decoder = memory.Decoder.of(Base.load(tiny_base))
    rows, need = memory.answering(decoder, 0, 16, 4, 1 << 40, 1 << 40, 256)
    assert rows == memory.ROWS[0]
    fewer, less = memory.answering(decoder, 0, 16, 4, need.more - 1, 1 << 40, 256)
    assert fewer == memory.ROWS[1]
    assert less.more < need.more
    with pytest.raises(memory.DeviceMemoryError, match="an answer needs at least"):
        memory.answering(decoder, 0, 16, 4, 1 << 10, 1 << 40, 256)


def test_the_shapes_before_experts_are_attached_are_those_after(tiny_base: Path) -> None:
    """Catches a check that reckons for other experts than a round trains."""
    base = Base.load(tiny_base)
    before = memory.expert_shapes(base, GRPO, 4)
    after = attach(base, same_form(EXPERTS, 4, 8.0), seed=7).trainable(GRPO)
    assert before == {name: tuple(value.shape) for name, value in after.items()}


def test_a_limit_of_the_cgroup_counts(tmp_path: Path) -> None:
    """Catches a container that believes the whole machine is its own."""
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert memory._cgroup_free(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._cgroup_free(tmp_path) > 1 << 60
    assert 0 < memory.free_bytes(torch.device("cpu")) < 1 << 60
