from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.evaluation.answers import Asking, answer
from client.evaluation.scores import evaluate
from client.model import router
from client.model.base import Base
from client.model.forward import Query
from client.tasks.prompt import direct
from client.tasks.registry import TASKS
from client.tasks.sample import Sample
from client.training import rollout, sft
from client.training.round import train_round
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import SFT, Inputs, fresh, plan, samples_of

SAMPLES = [sample for name in "abc" for sample in samples_of(name)]


def test_a_model_that_learnt_the_answers_scores_full_marks(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch answers given to the wrong samples, a wrong expert active, or a metric of another task."""
    monkeypatch.setattr(sft, "THINKING_SHARE", 0.0)  # a random base's thoughts are noise to learn from
    base = Base.load(tiny_base)
    experts = fresh(base)
    inputs = Inputs(base)
    asked = plan(base.hash, "sft", Mechanism(1e3, 0.0, 1.0, 150, 5), SFT)
    train_round(experts, SFT, SAMPLES, inputs, asked, 3, SeededRandom(0), lambda done, of: None)
    told: list[int] = []
    rows = evaluate(
        experts,
        SAMPLES,
        inputs,
        Asking("direct", 40, task_experts=False),
        progress=lambda done, of: told.append(done),
    )
    rows, further = [r for r in rows if not r.further], [r for r in rows if r.further]
    assert {row.metric for row in further} == {"balanced accuracy"}
    assert [(row.scale, row.task, row.n) for row in rows] == [
        ("roi", "classification", 3),
        ("roi", "detection", 3),
        ("roi", "vqa", 6),
        ("wsi", "classification", 3),
    ]
    assert [row.metric for row in rows] == [TASKS[row.task].metric for row in rows]
    assert [row.mean for row in rows] == [1.0] * 4
    assert [row.ci95 for row in rows] == [(1.0, 1.0)] * 4
    assert told[-1] == len(SAMPLES)
    assert told == sorted(told)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("task", [True, False])
def test_the_experts_asked_for_are_active_and_the_others_off(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, scale: bool, task: bool
) -> None:
    """Would catch a base figure measured with experts on."""
    experts = fresh(Base.load(tiny_base))
    seen = []
    greedy = rollout.greedy

    def watch(*args: object) -> list[list[int]]:
        seen.append(experts.active)
        return greedy(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rollout, "greedy", watch)
    answer(experts, SAMPLES[:1], Inputs(experts.base), Asking("direct", 3, scale, task))
    assert seen == [("scale/roi",) * scale + ("task/classification",) * task]
    assert experts.active == ()


def test_thinking_answers_without_the_form_are_no_answers(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch a loose reading of the form at evaluation, where RL is judged."""
    experts = fresh(Base.load(tiny_base))
    texts = ["<think>a</think><answer>stroma</answer>", "<answer>stroma</answer>", "stroma"]
    ids = [experts.prompts.answer(text) for text in texts]
    monkeypatch.setattr(rollout, "greedy", lambda *args: ids)
    samples: list[Sample] = [samples_of(name)[0] for name in "abc"]
    assert answer(experts, samples, Inputs(experts.base), Asking("thinking", 40)) == ["stroma", None, None]
    assert answer(experts, samples, Inputs(experts.base), Asking("direct", 40)) == texts


def test_answers_are_deterministic(tiny_base: Path) -> None:
    """Would catch sampling left on in evaluation."""
    experts = fresh(Base.load(tiny_base))
    once, twice = (answer(experts, SAMPLES, Inputs(experts.base), Asking("thinking", 12)) for _ in range(2))
    assert once == twice
    assert np.all([text is None or text for text in once])


def test_learned_gates_are_the_routers_for_each_question(tiny_base: Path) -> None:
    """Would catch a batch served by one row's gates, or by the declared expert though the router was asked for."""
    experts = fresh(Base.load(tiny_base))
    inputs = Inputs(experts.base)
    together = answer(experts, SAMPLES, inputs, Asking("direct", 8, learned=True))
    for sample, text in zip(SAMPLES, together, strict=True):
        (visual,) = inputs([sample])
        asking = [Query(experts.prompts.prompt(direct(sample), visual), visual)]
        with experts.gated(sample.scale, router.gates_for(experts, asking, router.TOP_K)):
            (ids,) = rollout.greedy(experts, asking, 8, experts.prompts.stop())
        assert experts.prompts.text(ids) == text
    assert together != answer(experts, SAMPLES, inputs, Asking("direct", 8))
