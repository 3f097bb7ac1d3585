"""The router: soft gates of a question's task experts, trained in SFT, moving nothing but itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.forward import Query, read
from client.model.router import gates_for
from client.tasks.prompt import direct, thinking
from client.tasks.sample import Box, Boxes, Label, Region, Sample, Text
from client.training import sft
from client.training.round import train_round
from privacy.experts import EXPERTS, ROUTER, TASKS, same_form
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import SFT, Inputs, draw_of, fresh, plan, samples_of

ROI = Region(0, 0, 64, 64)
ASKED = (
    ("classification", "Which kind of tissue is this?", Label("fat")),
    ("detection", "Mark every gland with a box.", Boxes((Box(10, 20, 500, 600),))),
    ("vqa", "How many glands are there?", Text("2")),
    ("vqa", "Is any necrosis to be seen?", Text("yes")),
)


def queries(experts: Experts, samples: list[Sample]) -> list[Query]:
    inputs = Inputs(experts.base)
    return [Query(experts.prompts.prompt(direct(s), v), v) for s in samples for v in inputs([s])]


@pytest.mark.parametrize("scale", ["roi", "wsi"])
@pytest.mark.parametrize("top_k", [1, 2, 3, 9])
def test_gates_are_the_renormalised_top_k_of_the_possible_tasks(
    tiny_base: Path, scale: str, top_k: int
) -> None:
    """Catches gates that do not sum to 1, a detection expert on a slide, more experts than asked for, and a question
    pooled with the tokens of another one or of the image."""
    experts = fresh(Base.load(tiny_base))
    with torch.no_grad():
        experts.router.weight.mul_(20)
    asked = queries(experts, [s for name in "abc" for s in samples_of(name) if s.scale == scale])
    gates = gates_for(experts, asked, top_k)
    assert gates.tasks == tuple(TASKS)
    possible = torch.tensor([scale in scales for scales in TASKS.values()])
    for query, row in zip(asked, gates.weights, strict=True):
        with torch.no_grad(), experts.only(scale, None):
            pooled = read(experts, [query]).instruction[0]
        words = experts.base.tokenizer.decode(query.prompt.ids[query.prompt.instruction])
        assert words in {direct(s) for name in "abc" for s in samples_of(name)}
        logits = 2 * experts.router.weight @ (pooled / pooled.norm())
        shares = torch.softmax(logits[possible], 0)
        kept = torch.where(shares >= shares.sort(descending=True)[0][:top_k][-1], shares, 0)
        torch.testing.assert_close(row[possible], kept / kept.sum(), atol=1e-5, rtol=1e-4)
        assert not row[~possible].any()
    assert top_k == 1 or gates.weights.std(0).max() > 0.01
    with pytest.raises(ValueError, match="top_k"):
        gates_for(experts, asked, 0)


def test_a_demand_to_think_changes_no_gate(tiny_base: Path) -> None:
    """Catches a router that looks at the demand, which comes after every question alike, in place of what was asked."""
    experts = fresh(Base.load(tiny_base))
    with torch.no_grad():
        experts.router.weight.mul_(20)
    inputs, samples = Inputs(experts.base), samples_of("a")[:4]
    gates = [
        gates_for(
            experts, [Query(experts.prompts.prompt(words(s), v), v) for s in samples for v in inputs([s])], 4
        )
        for words in (direct, thinking)
    ]
    torch.testing.assert_close(gates[0].weights, gates[1].weights, atol=1e-5, rtol=1e-4)
    assert gates[0].weights.std(0).max() > 0.01


def test_a_fresh_router_favours_no_task(tiny_base: Path) -> None:
    """Catches a public start that is not neutral."""
    experts = attach(Base.load(tiny_base), same_form(EXPERTS, 2, 4.0), 3)
    gates = gates_for(experts, queries(experts, samples_of("a")[:2]), 4)
    torch.testing.assert_close(gates.weights, torch.full((2, 4), 0.25))


def test_the_router_moves_nothing_but_itself(tiny_base: Path) -> None:
    """Catches a router whose loss reaches the scale experts, whose gradient carries more than its patient, or whose
    tensors do not travel."""
    experts = fresh(Base.load(tiny_base))
    inputs = Inputs(experts.base)
    drawn = [samples_of("a"), samples_of("b")[:1], samples_of("c")[4:]]
    alone = ("scale/roi", "scale/wsi")
    without, with_router = (
        sft.gradients(draw_of(experts, names, drawn, [3, 4, 5], inputs)) for names in (alone, SFT)
    )
    for key, value in without.items():
        torch.testing.assert_close(with_router[key], value, atol=1e-7, rtol=1e-5)
    assert set(with_router) - set(without) == {"router::router.weight"}
    assert experts.shapes(ROUTER) == {"router.weight": (4, experts.base.width)}
    found = with_router["router::router.weight"]
    assert found.any(2)[:2].all()
    assert not found[2, 1:3].any()  # detection and segmentation can't be asked of a slide
    torch.testing.assert_close(found.sum(1), torch.zeros(3, experts.base.width), atol=1e-6, rtol=0)


def test_a_hospital_teaches_the_router_nothing_about_tasks_that_it_has_no_labels_of(tiny_base: Path) -> None:
    """Catches a hospital whose router learns to answer "never" about another one's task, a sample of a task that the policy
    does not name that teaches all the same, and a loss that is not a number where nothing can be told apart.
    """
    experts = fresh(Base.load(tiny_base))
    drawn = [samples_of("a"), samples_of("b")[3:4], samples_of("c")[4:]]  # b has a detection, c a diagnosis

    def found(*tasks: str) -> dict[str, torch.Tensor]:
        draw = draw_of(experts, SFT, drawn, [3, 4, 5], Inputs(experts.base), tasks=tasks)
        return sft.gradients(draw)

    everything, some = found(*TASKS), found("classification", "vqa")
    router = some.pop("router::router.weight")
    assert router[0, [0, 3]].any(1).all()
    assert not router[:, 1:3].any()
    assert not router[1].any()  # the others of the gradient have all that they had
    for key, value in some.items():
        torch.testing.assert_close(value, everything[key], atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(router[2], everything["router::router.weight"][2], atol=1e-7, rtol=1e-5)
    assert not found("detection")["router::router.weight"].any()


def test_a_round_teaches_the_router_its_tasks(tiny_base: Path) -> None:
    """Catches a router that goes uphill, or is not written back. Without noise, on questions of three tasks."""
    base = Base.load(tiny_base)
    experts = attach(base, same_form(EXPERTS, 4, 8.0), 7)
    samples = [Sample(p, p, ROI, task, text, answer) for p in "abcdef" for task, text, answer in ASKED]
    asked = plan(base.hash, "sft", Mechanism(1.0, 0.0, 1.0, 60, 5), ["router", "scale/roi"])
    asked = replace(asked, learning_rate=0.1)  # a random base says nearly the same of every question
    trained = ["router", "scale/roi"]
    deltas = train_round(
        experts, trained, samples, Inputs(base), asked, 6, SeededRandom(0), lambda done, of: None
    )
    assert set(deltas) == set(trained)
    gates = gates_for(experts, queries(experts, samples), 1)
    chosen = [gates.tasks[i] for i in gates.weights.argmax(1).tolist()]
    assert np.mean([task == sample.task for task, sample in zip(chosen, samples, strict=True)]) > 0.8
    np.testing.assert_allclose(gates.weights.sum(1).numpy(), 1.0, rtol=1e-6)
