"""A decoder without a vision tower as a base: what of the real training path needs no image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from client.model.architectures.architecture import Architecture
from client.model.base import Base, Scales
from client.model.experts import Experts, attach
from client.model.projector import HIDDEN, Projector
from client.model.prompt_tokens import Prompt, PromptBuilder
from client.model.visual import Visual
from client.tasks.sample import Sample
from privacy.experts import ExpertForm

IMAGE = "<image>"
_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{{ part['text'] if part['type'] == 'text' else '" + IMAGE + "' }} "
    "{% endfor %}{% endfor %}"
)


class TextDecoder:
    """As much of `Architecture` as a model of text is asked for."""

    axes = 1
    image_token = IMAGE

    def __init__(self, model: Any) -> None:
        self.language_model = model.model

    def decode(
        self,
        embeds: Tensor,
        positions: Tensor,
        cache: DynamicCache,
        mask: Tensor | None = None,
        seen: Tensor | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> Tensor:
        """See `Architecture`."""
        hidden: Tensor = self.language_model(
            inputs_embeds=embeds,
            position_ids=positions[0],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden


class TextPrompts(PromptBuilder):
    """Prompts of words alone: `form(question)` as it is, without an image.  An answer ends with `end` where `closed`."""

    def __init__(self, base: Base, form: Callable[[str], str], end: int, closed: bool) -> None:
        super().__init__(base)
        self.end = end
        self._form, self._closed = form, closed

    def prompt(self, question: str, visual: Visual) -> Prompt:
        """The prompt; the visual input is not looked at."""
        ids = torch.tensor(self.ids(self._form(question)))
        seen = torch.zeros(len(ids), dtype=torch.bool)
        return Prompt(ids, torch.arange(len(ids))[None], seen, slice(0, len(ids)), len(ids))

    def text_tokens(self, question: str) -> int:
        """All of them: there is no image."""
        return len(self.ids(self._form(question)))

    def answer(self, text: str) -> list[int]:
        """The ids of an answer, and of its end."""
        return super().answer(text) if self._closed else self.ids(text)


def text_experts(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    forms: dict[str, ExpertForm],
    form: Callable[[str], str],
    end: int,
    *,
    closed: bool = True,
) -> Experts:
    """Fresh experts on a frozen causal language model of transformers, asked in words alone."""
    tokenizer.chat_template = _TEMPLATE
    base = Base(
        model=model,
        tokenizer=tokenizer,
        projector=Projector(model.config.hidden_size, model.config.hidden_size, HIDDEN)
        .to(model.device)
        .requires_grad_(False),
        scales=Scales(roi_pixels=64, roi_mpp=1.0, wsi_mpp=1.0, wsi_max_tokens=1),
        architecture=cast("Architecture", TextDecoder(model)),
        hash="0" * 64,
    )
    experts = attach(base, forms, seed=7)
    experts.prompts = TextPrompts(base, form, end, closed)
    return experts


def no_images(experts: Experts) -> Callable[[Sequence[Sample]], list[Visual]]:
    """What stands for the images of samples that have none."""
    nothing = Visual(torch.zeros(1, experts.base.width, device=experts.base.device), (), (1, 1))
    return lambda samples: [nothing] * len(samples)
