from __future__ import annotations

from pathlib import Path

import torch

from client.model.base import Base
from client.model.forward import Query, answer_logprobs, read
from client.model.visual import Visual
from tests.model_cases import fresh


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
            embeds[0, queries[0].prompt.visual.nonzero()[:, 0]] = experts.projector(visuals[0].tokens)
            hidden = experts.base.language_model(inputs_embeds=embeds).last_hidden_state[0]
            logits = experts.base.model.lm_head(hidden[-len(answers[0]) - 1 : -1])
            expected = torch.log_softmax(logits, -1)[torch.arange(len(answers[0])), torch.tensor(answers[0])]
            torch.testing.assert_close(alone[0], expected, atol=2e-5, rtol=1e-4)
            results[scale] = alone
    assert not torch.allclose(results[None], results["wsi"])
