from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import stats

from client.model.base import Base
from client.model.experts import Experts
from client.model.forward import Query, answer_logprobs, read
from client.model.images import patchify
from client.model.stop import Stop
from client.model.visual import encode_images
from client.training import rollout
from tests.model_cases import fresh

QUESTIONS = ("How many glands?", "Fat?", "Where is the tumour, and how large is it?", "Which tissue is this?")


def queries(experts: Experts) -> tuple[list[Query], list[np.ndarray]]:
    random = np.random.default_rng(3)
    images = [random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in QUESTIONS]
    visuals = encode_images(experts.base, images)
    return [Query(experts.prompts.prompt(q, v), v) for q, v in zip(QUESTIONS, visuals, strict=True)], images


def test_greedy_answers_equal_transformers_generate(tiny_base: Path) -> None:
    """Would catch a cache that shifts positions, a wrong mask in decoding, or rows mixed up when some have
    ended.

    The end token is one that the model does produce, so rows end at unlike times.
    """
    experts = fresh(Base.load(tiny_base))
    base = experts.base
    asked, images = queries(experts)
    with experts.only("roi", "vqa"):
        free = rollout.greedy(experts, asked, 24, Stop(-1))
        end = free[0][5]
        ours = rollout.greedy(experts, asked, 24, Stop(end))
        for query, image, answer in zip(asked, images, ours, strict=True):
            pixels, grid = patchify([image], base.architecture.patches)
            ids = query.prompt.ids[None]
            theirs = base.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pixels,
                image_grid_thw=grid,
                mm_token_type_ids=(ids == base.model.config.image_token_id).int(),
                do_sample=False,
                max_new_tokens=24,
                eos_token_id=end,
                pad_token_id=end,
            )[0, ids.shape[1] :]
            assert answer == theirs.tolist()
    assert len({len(answer) for answer in ours}) > 1
    assert all(answer.count(end) == (answer[-1] == end) for answer in ours)


def test_sampled_answers_stop_at_the_end_token(tiny_base: Path) -> None:
    """Would catch text after the end, an answer without it below the limit, or one beyond the limit."""
    experts = fresh(Base.load(tiny_base))
    asked, _ = queries(experts)
    uniforms = torch.from_numpy(np.random.default_rng(0).random((4, 8, 20)))
    free = rollout.sample(experts, asked, uniforms, Stop(-1))
    end = free[1][2][4]
    answers = rollout.sample(experts, asked, uniforms, Stop(end))
    flat = [answer for group in answers for answer in group]
    assert [len(group) for group in answers] == [8] * 4
    assert any(len(answer) < 20 for answer in flat)
    assert all(answer[-1] == end if len(answer) < 20 else len(answer) == 20 for answer in flat)
    assert all(end not in answer[:-1] for answer in flat)


def test_what_a_row_samples_does_not_depend_on_its_batch(tiny_base: Path) -> None:
    """Would catch randomness shared between patients: one patient's presence would change another's
    rollouts.
    """
    experts = fresh(Base.load(tiny_base))
    asked, _ = queries(experts)
    uniforms = torch.from_numpy(np.random.default_rng(1).random((4, 3, 12)))
    together = rollout.sample(experts, asked, uniforms, experts.prompts.stop())
    for i, query in enumerate(asked):
        assert rollout.sample(experts, [query], uniforms[i : i + 1], experts.prompts.stop())[0] == together[i]


def test_the_first_token_is_drawn_from_the_models_distribution(tiny_base: Path) -> None:
    """Would reject greedy, temperature 0.5 or 2, and any cut of the distribution's tail (p < 1e-4 each)."""
    experts = fresh(Base.load(tiny_base))
    query = queries(experts)[0][0]
    draws = 4000
    uniforms = torch.from_numpy(np.random.default_rng(2).random((1, draws, 1)))
    first = np.array([a[0] for a in rollout.sample(experts, [query], uniforms, experts.prompts.stop())[0]])
    with torch.no_grad():
        logits = experts.base.model.lm_head(read(experts, [query]).last)[0].double()
    for temperature, accepted in ((1.0, True), (0.5, False), (2.0, False)):
        p = torch.softmax(logits / temperature, -1).numpy()
        common = p * draws >= 5
        observed = [*np.bincount(first, minlength=len(p))[common], (~common)[first].sum()]
        expected = np.array([*p[common], p[~common].sum()]) * draws
        assert (stats.chisquare(observed, expected / expected.sum() * draws).pvalue > 1e-4) == accepted


def test_sampling_and_scoring_see_the_same_policy(tiny_base: Path) -> None:
    """Would catch rollouts of another policy than the one whose gradient is taken (the ratio would not be
    1).
    """
    experts = fresh(Base.load(tiny_base))
    asked, _ = queries(experts)
    with experts.only("roi", "detection"):
        ids = rollout.greedy(experts, asked, 10, Stop(-1))
        logprobs, _ = answer_logprobs(experts, read(experts, asked), ids)
        best = []
        for query, answer in zip(asked, ids, strict=True):
            other = [[*answer[:-1], (answer[-1] + shift) % 200] for shift in range(1, 30)]
            rows = torch.zeros(29, dtype=torch.long)
            best.append(answer_logprobs(experts, read(experts, [query]).rows(rows), other)[0][:, -1].max())
    assert (logprobs[:, -1] >= torch.stack(best)).all()
