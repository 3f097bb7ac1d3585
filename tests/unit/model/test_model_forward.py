from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from client.model.base import Base
from client.model.forward import Query, answer_logprobs, read
from client.model.images import patchify
from client.model.visual import Visual, encode_images
from tests.model_cases import fresh


def test_answers_score_as_in_transformers_own_forward(tiny_base: Path) -> None:
    """Would catch wrong masks, positions, deepstack or cache: padded prompts, padded answers, repeated
    prompts.
    """
    base = Base.load(tiny_base)
    experts = fresh(base)
    random = np.random.default_rng(0)
    images = [
        random.integers(0, 256, shape, dtype=np.uint8) for shape in ((64, 64, 3), (32, 64, 3), (64, 32, 3))
    ]
    questions = ["How many?", "Is there any fat to be seen here?", "Which?"]
    visuals = encode_images(base, images)
    builder = experts.prompts
    queries = [Query(builder.prompt(q, v), v) for q, v in zip(questions, visuals, strict=True)]
    owner = torch.tensor([0, 0, 1, 2, 2])
    answers = [builder.answer(text) for text in ("3", "seven", "no", "", "a longer answer than all")]
    with experts.only("roi", "vqa"):
        logprobs, real = answer_logprobs(experts, read(experts, queries).rows(owner), answers)
        for row, (index, ids) in enumerate(zip(owner.tolist(), answers, strict=True)):
            pixels, grid = patchify([images[index]], base.patches)
            full = torch.cat([queries[index].prompt.ids, torch.tensor(ids)])[None]
            logits = base.model(
                input_ids=full,
                pixel_values=pixels,
                image_grid_thw=grid,
                mm_token_type_ids=(full == base.model.config.image_token_id).int(),
            ).logits[0, -len(ids) - 1 : -1]
            expected = torch.log_softmax(logits, -1)[torch.arange(len(ids)), torch.tensor(ids)]
            torch.testing.assert_close(logprobs[row, : len(ids)], expected, atol=2e-5, rtol=1e-4)
            assert real[row].sum() == len(ids)
            assert not logprobs[row, len(ids) :].any()


def test_a_slides_tokens_go_through_the_active_projector(tiny_base: Path) -> None:
    """Would catch a trained projector that serves the base alone, or padding read as tissue."""
    experts = fresh(Base.load(tiny_base))
    visuals = [Visual(torch.randn(n, experts.base.width)) for n in (4, 6)]
    queries = [Query(experts.prompts.prompt("Diagnosis?", v), v) for v in visuals]
    answers = [experts.prompts.answer("benign")] * 2
    results = {}
    for scale in (None, "wsi"):
        with experts.only(scale, None):
            together, _ = answer_logprobs(experts, read(experts, queries), answers)
            alone, _ = answer_logprobs(experts, read(experts, queries[:1]), answers[:1])
            torch.testing.assert_close(together[:1], alone, atol=2e-5, rtol=1e-4)
            embeds = experts.base.language_model.embed_tokens(
                torch.cat([queries[0].prompt.ids, torch.tensor(answers[0])])
            )[None].clone()
            embeds[0, queries[0].prompt.visual] = experts.projector(visuals[0].tokens)
            hidden = experts.base.language_model(inputs_embeds=embeds).last_hidden_state[0]
            logits = experts.base.model.lm_head(hidden[-len(answers[0]) - 1 : -1])
            expected = torch.log_softmax(logits, -1)[torch.arange(len(answers[0])), torch.tensor(answers[0])]
            torch.testing.assert_close(alone[0], expected, atol=2e-5, rtol=1e-4)
            results[scale] = alone
    assert not torch.allclose(results[None], results["wsi"])
