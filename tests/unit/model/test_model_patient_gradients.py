from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from client.model.base import Base
from client.model.experts import Experts
from client.model.forward import Query, answer_logprobs, read
from client.tasks.grammar import own_thought
from client.tasks.prompt import direct, thinking
from client.tasks.registry import TASKS
from client.tasks.sample import Sample
from client.training import grpo, sft
from client.training.batch import Performance
from client.training.rollout import greedy
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, norm, samples_of
from tests.tiny_families import FAMILIES

SETTINGS = grpo.Settings(rollouts=4, kl_beta=0.1, max_answer_tokens=6)


def naive(experts: Experts, names: tuple[str, ...], loss) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    """Plain autograd of one patient's loss, one sequence at a time, nothing padded and nothing shared."""
    parameters = experts.trainable(names)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    value = loss()
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    return {
        k: torch.zeros_like(p) if g is None else g
        for (k, p), g in zip(parameters.items(), found, strict=True)
    }


def query(experts: Experts, inputs: Inputs, sample: Sample, text: str) -> Query:
    visual = inputs([sample])[0]
    return Query(experts.prompts.prompt(text, visual), visual)


def routed(experts: Experts, asked: Query, sample: Sample) -> Tensor:
    """-log of the router's share for the sample's task, from the decoder's own hidden states."""
    with torch.no_grad(), experts.only(sample.scale, None):
        question, states = asked.prompt.instruction, hidden_states(experts, asked)
        before, last = states[question.start - 1], states[question.stop - 1]
        added = last / last.norm() - before / before.norm()
    logits = 2 * experts.router.weight @ (added / added.norm())
    possible = {"roi": [0, 1, 2, 3], "wsi": [0, 3]}[sample.scale]
    return logits[possible].logsumexp(0) - logits[list(TASKS).index(sample.task)]


def hidden_states(experts: Experts, asked: Query) -> Tensor:
    """[L, width] of one prompt."""
    base, seen = experts.base, asked.prompt.visual[None]
    tokens = (
        asked.visual.tokens if asked.visual.scale == "roi" else experts.projector(asked.visual.tokens[None])
    )
    embeds = base.language_model.embed_tokens(asked.prompt.ids)[None]
    embeds = embeds.masked_scatter(seen[..., None], tokens)
    hidden: Tensor = base.architecture.decode(
        embeds, asked.prompt.positions[:, None], DynamicCache(), seen=seen, deepstack=asked.visual.deepstack
    )[0]
    return hidden


def compare(ours: dict[str, Tensor], patient: int, theirs: dict[str, Tensor]) -> None:
    mine = {key: value[patient] for key, value in ours.items()}
    assert set(mine) == set(theirs)
    assert norm(theirs) > 1e-4
    assert norm({key: mine[key] - theirs[key] for key in mine}) < 1e-5 * norm(theirs)


SPEEDS = (
    Performance(),
    Performance(tokens=300, sampled_tokens=300),
    Performance(checkpointing=True),
    Performance(tokens=300, checkpointing=True),
)


@pytest.mark.parametrize("performance", SPEEDS, ids=str)
def test_sft_gradients_equal_one_patient_at_a_time(tiny_base: Path, performance: Performance) -> None:
    """Would catch rows given to the wrong patient, padding that leaks, a mean over the batch, or a
    projector or router left out.

    Unlike numbers of samples a patient, regions and slides, padded prompts and answers.
    """
    experts = fresh(Base.load(tiny_base))
    inputs = Inputs(experts.base)
    drawn = [samples_of("a"), samples_of("b")[:1], samples_of("c")[1:], samples_of("d")[4:]]
    seeds = [3, 4, 5, 6]
    asked = [
        np.random.Generator(np.random.Philox(s)).random(len(d)) < 0.5
        for s, d in zip(seeds, drawn, strict=True)
    ]
    assert {bool(think) for coins in asked for think in coins} == {True, False}
    ours = sft.gradients(draw_of(experts, SFT, drawn, seeds, inputs, performance=performance))
    for patient, samples in enumerate(drawn):

        def loss(patient: int = patient, samples: list[Sample] = samples) -> Tensor:
            losses = []
            for sample, think in zip(samples, asked[patient], strict=True):
                text, ids = TASKS[sample.task].render(sample.answer), experts.prompts.ids
                before, thought, wanted = [], [], experts.prompts.answer(text)
                asking = [query(experts, inputs, sample, thinking(sample) if think else direct(sample))]
                with experts.only(sample.scale, None):
                    if think:
                        closes = experts.prompts.stop("</think>")
                        said = greedy(experts, asking, sft.THOUGHT_TOKENS, closes)[0]
                        before, thought = ids("<think>"), ids(own_thought(experts.prompts.text(said)))
                        wanted = [*ids("</think><answer>"), *experts.prompts.answer(text + "</answer>")]
                        assert thought
                    prefix = read(experts, asking)
                    logprobs = answer_logprobs(experts, prefix, [before + thought + wanted])[0][0]
                mean = torch.cat([logprobs[: len(before)], logprobs[len(before + thought) :]]).mean()
                losses.append(routed(experts, asking[0], sample) - mean)
            return torch.stack(losses).mean()

        compare(ours, patient, naive(experts, SFT, loss))
    assert not any(parameter.grad is not None for parameter in experts.base.model.parameters())


@pytest.mark.parametrize(
    ("family", "performance"),
    [
        *(("qwen3_vl", speed) for speed in SPEEDS),
        *((name, SPEEDS[1]) for name in FAMILIES if name != "qwen3_vl"),
    ],
    ids=str,
)
def test_grpo_gradients_equal_methods_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, performance: Performance
) -> None:
    """Would catch a departure from METHOD's loss: the group's std, the KL's sign, the length constant,
    equal answers.

    Both experts active; the same rollouts are scored token by token, one sequence at a time, in every family.
    """
    FAMILIES[family](tmp_path)
    experts = fresh(Base.load(tmp_path))
    inputs = Inputs(experts.base)
    monkeypatch.setattr(
        grpo, "reward", lambda task, text, sample: (len(text) * 7 + sum(text.encode())) % 11 / 10
    )
    drawn = [samples_of("a"), samples_of("b")[:2], samples_of("c")[3:]]
    seeds = [5, 6, 7]
    taken: list[tuple[grpo.Item, list[list[int]]]] = []
    group = grpo.group

    def keep(item: grpo.Item, answers: list[list[int]], rewards: list[float]) -> grpo.Group:
        answers[1] = answers[0]  # equal answers are computed once
        taken.append((item, answers))
        return group(item, answers, [rewards[0], rewards[0], *rewards[2:]])

    monkeypatch.setattr(grpo, "group", keep)
    ours = grpo.gradients(draw_of(experts, GRPO, drawn, seeds, inputs, performance=performance), SETTINGS)
    assert len(taken) == 9
    for patient, samples in enumerate(drawn):

        def loss(patient: int = patient, count: int = len(samples)) -> Tensor:
            total = torch.zeros(())
            for item, answers in (pair for pair in taken if pair[0].patient == patient):
                sample = item.sample
                rewards = np.array([grpo.reward(None, experts.prompts.text(ids), sample) for ids in answers])
                scaled = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
                asked = query(experts, inputs, sample, thinking(sample))
                for ids, advantage in zip(answers, scaled.tolist(), strict=True):
                    with experts.only(sample.scale, sample.task):
                        policy = answer_logprobs(experts, read(experts, [asked]), [ids])[0][0]
                    with experts.only(sample.scale, None), torch.no_grad():
                        reference = answer_logprobs(experts, read(experts, [asked]), [ids])[0][0]
                    d = reference - policy
                    ratio = torch.exp(policy - policy.detach())
                    per_token = advantage * ratio - SETTINGS.kl_beta * (torch.exp(d) - d - 1)
                    total = total - per_token.sum() / SETTINGS.max_answer_tokens / SETTINGS.rollouts / count
            return total

        compare(ours, patient, naive(experts, GRPO, loss))
