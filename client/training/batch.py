"""What training runs on: samples made into queries, and micro-batches of them that drop no one.

Who shares a batch changes the last bits of its numbers. Where numbers become choices (a token sampled, the likeliest
one taken) the last bit may decide, and one patient more would change what others contribute; so a batch of choices
holds one patient's rows only. Training passes choose nothing: patients share them in float32, where only last bits
differ, and in lower precision, where bits are few, they don't (`company`). docs/adr/0016.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from client.model.base import Base
from client.model.forward import Query
from client.model.prompt_tokens import PromptBuilder
from client.model.visual import Visual
from client.tasks.sample import Sample

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
LoadInputs = Callable[[Sequence[Sample]], Sequence[Visual]]


@dataclass(frozen=True)
class Performance:
    """How much is computed at once. Changes speed and memory, never the guarantee; the result in float32 by its rounding
    alone, and below, where a bit may decide a token, all but `patients` change it: they must not hang on who is drawn.

    patients: whose gradients are held together; tokens: of one training pass, padding and all; sampled_tokens: of
    one sampling pass, cached prompts and room for the answers; checkpointing: whether a layer's inner values are
    computed again in the backward pass instead of being kept.
    """

    patients: int = 64
    tokens: int = 4096
    sampled_tokens: int = 65536
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if min(self.patients, self.tokens, self.sampled_tokens) < 1:
            raise ValueError(f"every size is at least 1: {self}")


@dataclass(frozen=True)
class Item:
    """One drawn sample: whose it is (index into the chunk of patients), its weight in that patient's loss,
    its query.
    """

    patient: int
    weight: float
    sample: Sample
    query: Query


def items(
    drawn: Sequence[Sequence[Sample]],
    load_inputs: LoadInputs,
    prompts: PromptBuilder,
    question: Callable[[Sample], str],
) -> list[Item]:
    """One item a sample, patient by patient; a patient's weights sum to 1, so that its loss is the mean of
    its samples'.
    """
    flat = [(p, 1.0 / len(samples), sample) for p, samples in enumerate(drawn) for sample in samples]
    visuals = load_inputs([sample for _, _, sample in flat])
    return [
        Item(patient, weight, sample, Query(prompts.prompt(question(sample), visual), visual))
        for (patient, weight, sample), visual in zip(flat, visuals, strict=True)
    ]


@dataclass(frozen=True)
class Extent:
    """What a value takes of a batch: a prompt of some tokens, and answers of at most so many tokens that continue it."""

    prompt: int
    answers: int = 0
    answer: int = 0


def padded(extent: Callable[[T], Extent]) -> Callable[[Sequence[T]], int]:
    """The tokens of a batch, padding and all: every prompt is as long as the longest, and so is every answer."""

    def tokens(batch: Sequence[T]) -> int:
        parts = [extent(value) for value in batch]
        prompts = len(parts) * max(part.prompt for part in parts)
        return prompts + sum(part.answers for part in parts) * max(part.answer for part in parts)

    return tokens


def company(base: Base, item: Item) -> int | None:
    """With whom an item may share a training pass: all (None), or on a base below float32 its own patient alone."""
    return None if base.model.dtype == torch.float32 else item.patient


def by_kind(values: Iterable[T], kind: Callable[[T], K]) -> dict[K, list[T]]:
    """The values of each kind, in order."""
    kinds: dict[K, list[T]] = {}
    for value in values:
        kinds.setdefault(kind(value), []).append(value)
    return kinds


def micro_batches(
    values: Sequence[T],
    kind: Callable[[T], object],
    length: Callable[[T], int],
    most: int,
    cost: Callable[[Sequence[T]], int] = len,
) -> Iterator[list[T]]:
    """Every value once, in batches of one kind, of like length (longest first), each of a cost of at most `most`.

    A value that costs more is a batch of its own: no value is ever dropped or cut. The cost of a batch is at least
    that of any part of it.
    """
    for group in by_kind(values, kind).values():
        group.sort(key=length, reverse=True)
        batch: list[T] = []
        for value in group:
            if batch and cost([*batch, value]) > most:
                yield batch
                batch = []
            batch.append(value)
        yield batch
