"""What training runs on: samples made into queries, and micro-batches of them that drop no one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from client.model.forward import Query
from client.model.prompt_tokens import PromptBuilder
from client.model.visual import Visual
from client.tasks.sample import Sample

T = TypeVar("T")
LoadInputs = Callable[[Sequence[Sample]], Sequence[Visual]]


@dataclass(frozen=True)
class Performance:
    """How much is computed at once. Changes speed and memory, never the guarantee or (beyond rounding) the
    result.

    patients: whose gradients are held together; rows: sequences of one training pass; sampled_rows:
    sequences of one sampling pass.
    """

    patients: int = 64
    rows: int = 32
    sampled_rows: int = 512

    def __post_init__(self) -> None:
        if min(self.patients, self.rows, self.sampled_rows) < 1:
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


def micro_batches(
    values: Sequence[T],
    kind: Callable[[T], object],
    length: Callable[[T], int],
    rows: int,
    size: Callable[[T], int] = lambda value: 1,
) -> Iterator[list[T]]:
    """Every value once, in batches of one kind, of like length (longest first) and at most `rows` rows in
    all.

    A value takes `size` rows; one of more than `rows` is a batch of its own: no value is ever dropped or cut.
    """
    kinds: dict[object, list[T]] = {}
    for value in values:
        kinds.setdefault(kind(value), []).append(value)
    for group in kinds.values():
        group.sort(key=length, reverse=True)
        batch: list[T] = []
        taken = 0
        for value in group:
            if batch and taken + size(value) > rows:
                yield batch
                batch, taken = [], 0
            batch.append(value)
            taken += size(value)
        yield batch
