"""Running the language model: prompts once, then answers that continue them.

Everything is padded on the right and positions are explicit. A prompt that several answers continue (a
group of rollouts, with or without gradients) is computed once and its keys and values are repeated. Each row knows
which request it serves, so that the request's gates go with it.

Shapes: P prompts, M answers, L prompt tokens, T answer tokens, all padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from client.model.experts import Experts
from client.model.prompt_tokens import Prompt
from client.model.visual import Visual


@dataclass(frozen=True)
class Query:
    """One question about one visual input."""

    prompt: Prompt
    visual: Visual


@dataclass(frozen=True)
class Prefix:
    """Prompts that the model has read.

    last: hidden state at each prompt's last token [P, width]; instruction: what the question adds to what was read before it,
    the state at its last token less that just before its first, each at length 1, float32 [P, width], without a gradient;
    valid: which cached positions are prompt, not padding, bool [P, L], or None where there is no padding; next_position
    int64 [P]; requests int64 [P]: which request each row serves.
    """

    cache: DynamicCache
    last: Tensor
    instruction: Tensor
    valid: Tensor | None
    next_position: Tensor
    requests: Tensor

    def rows(self, prompts: Tensor) -> Prefix:
        """One row for each index in `prompts` (int64, repeats allowed): rows to continue; takes the cache
        over.
        """
        self.cache.batch_select_indices(prompts)
        return replace(
            self,
            last=self.last[prompts],
            instruction=self.instruction[prompts],
            valid=None if self.valid is None else self.valid[prompts],
            next_position=self.next_position[prompts],
            requests=self.requests[prompts],
        )


def read(experts: Experts, queries: Sequence[Query]) -> Prefix:
    """Run the prompts of queries of one scale through the active experts; query i is request i. Visual inputs may lie on
    any device: only those of this batch come to the model's.
    """
    base = experts.base
    prompts = [query.prompt for query in queries]
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    positions = pad_sequence([prompt.positions.T for prompt in prompts], batch_first=True).permute(2, 0, 1)
    embeds, seen = embedded(experts, queries)
    deepstack = zip(*(query.visual.deepstack for query in queries), strict=True)
    cache = DynamicCache()
    requests = torch.arange(len(queries), device=base.device)
    with experts.serving(requests):
        hidden = base.architecture.decode(
            embeds,
            positions.to(base.device),
            cache,
            seen=seen,
            deepstack=[torch.cat(layer).to(base.device) for layer in deepstack],
        )
    padded = bool((lengths != embeds.shape[1]).any())
    return Prefix(
        cache=cache,
        last=hidden[torch.arange(len(queries)), lengths - 1],
        instruction=_instructions(hidden.detach(), prompts),
        valid=(torch.arange(embeds.shape[1])[None] < lengths[:, None]).to(base.device) if padded else None,
        next_position=torch.tensor([prompt.next_position for prompt in prompts], device=base.device),
        requests=requests,
    )


def embedded(experts: Experts, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
    """What the decoder reads of queries of one scale: [P, L, width] in the base's type, and which of it are visual tokens,
    bool [P, L]; padded.
    """
    base = experts.base
    ids = pad_sequence([query.prompt.ids for query in queries], batch_first=True).to(base.device)
    seen = pad_sequence([query.prompt.visual for query in queries], batch_first=True).to(base.device)
    embeds = base.language_model.embed_tokens(ids)
    return embeds.masked_scatter(seen[..., None], _visual_tokens(experts, queries).to(embeds.dtype)), seen


def answer_logprobs(
    experts: Experts, prefix: Prefix, answers: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Log-probability of each answer token after its prompt: (float32 [M, T], real tokens bool [M, T]);
    padding is 0.

    Row i continues prompt i of the prefix, whose cache is used up.
    """
    base = experts.base
    targets = pad_sequence([torch.tensor(a) for a in answers], batch_first=True).to(base.device)
    lengths = torch.tensor([len(a) for a in answers], device=base.device)
    real = torch.arange(targets.shape[1], device=base.device)[None] < lengths[:, None]
    hidden = prefix.last[:, None]
    if targets.shape[1] > 1:
        hidden = torch.cat([hidden, _continue(experts, prefix, targets[:, :-1])], dim=1)
    logits = base.model.lm_head(hidden[real]).float()  # only where an answer token stands
    chosen = logits.gather(1, targets[real][:, None])[:, 0] - logits.logsumexp(-1)
    return torch.zeros(real.shape, device=base.device).masked_scatter(real, chosen), real


def _continue(experts: Experts, prefix: Prefix, ids: Tensor) -> Tensor:
    """Hidden states [M, T, width] of answer tokens ids [M, T] after their prompts."""
    base = experts.base
    count = ids.shape[1]
    past = prefix.cache.get_seq_length()
    causal = torch.ones(count, past + count, dtype=torch.bool, device=ids.device).tril(past)[None, None]
    if prefix.valid is not None:
        tail = prefix.valid.new_ones(len(ids), count)
        causal = causal & torch.cat([prefix.valid, tail], dim=1)[:, None, None]
    positions = prefix.next_position[:, None] + torch.arange(count, device=ids.device)
    with experts.serving(prefix.requests):
        return base.architecture.decode(
            base.language_model.embed_tokens(ids),
            positions.expand(base.architecture.axes, -1, -1),
            prefix.cache,
            mask=causal,
        )


def _instructions(hidden: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    ends = [(prompt.instruction.start - 1, prompt.instruction.stop - 1) for prompt in prompts]
    states = hidden[torch.arange(len(prompts))[:, None], torch.tensor(ends)].float()
    before, last = functional.normalize(states, dim=-1).unbind(1)
    return last - before


def _visual_tokens(experts: Experts, queries: Sequence[Query]) -> Tensor:
    tokens = [query.visual.tokens.to(experts.base.device) for query in queries]
    if queries[0].visual.scale == "roi":
        return torch.cat(tokens)
    padded = pad_sequence(tokens, batch_first=True)  # [P, S, width]
    lengths = torch.tensor([len(t) for t in tokens], device=padded.device)
    return experts.projector(padded)[
        torch.arange(padded.shape[1], device=padded.device)[None] < lengths[:, None]
    ]
