"""The model's greedy answers to samples: deterministic, each sample's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from client.model.experts import Experts
from client.tasks.grammar import parse_thinking
from client.tasks.prompt import direct, thinking
from client.tasks.sample import Sample
from client.training import rollout
from client.training.batch import LoadInputs, items, micro_batches

Mode = Literal["direct", "thinking"]
ROWS = 128  # answered at once
ANSWER_TOKENS = 96  # the longest answer that an evaluation reads


def said(
    experts: Experts,
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    mode: Mode,
    most_tokens: int,
    *,
    scale_experts: bool = True,
    task_experts: bool = True,
) -> Iterator[list[tuple[int, str]]]:
    """All that the model says to each sample (its thoughts too, in thinking mode), batch by batch as they come.

    Yields (index into samples, text); every sample once.
    """
    for batch in micro_batches(
        list(enumerate(samples)),
        lambda s: s[1].kind,
        lambda s: len(s[1].question),
        ROWS,
    ):
        asked = [sample for _, sample in batch]
        rows = items(
            [[s] for s in asked], load_inputs, experts.prompts, direct if mode == "direct" else thinking
        )
        with experts.only(asked[0].scale if scale_experts else None, asked[0].task if task_experts else None):
            ids = rollout.greedy(experts, [row.query for row in rows], most_tokens, experts.prompts.end)
        yield [(i, experts.prompts.text(tokens)) for (i, _), tokens in zip(batch, ids, strict=True)]


def answer_in(text: str, mode: Mode) -> str | None:
    """The answer in what was said; None where a thinking answer breaks the form."""
    return text if mode == "direct" else parse_thinking(text)


def answer(
    experts: Experts,
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    mode: Mode,
    most_tokens: int,
    *,
    scale_experts: bool = True,
    task_experts: bool = True,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[str | None]:
    """The model's answer to each sample, in order; None where a thinking answer breaks the form."""
    texts: list[str | None] = [None] * len(samples)
    done = 0
    for batch in said(
        experts,
        samples,
        load_inputs,
        mode,
        most_tokens,
        scale_experts=scale_experts,
        task_experts=task_experts,
    ):
        for index, text in batch:
            texts[index] = answer_in(text, mode)
        done += len(batch)
        progress(done, len(samples))
    return texts
