"""How well the model answers: greedy answers to samples, scored by each task's own metric with bootstrap
intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from client.model.experts import Experts
from client.tasks.grammar import parse_thinking
from client.tasks.metrics import bootstrap_interval
from client.tasks.prompt import direct, thinking
from client.tasks.registry import TASKS
from client.tasks.sample import Sample
from client.training import rollout
from client.training.batch import LoadInputs, Performance, items, micro_batches

Mode = Literal["direct", "thinking"]
PERFORMANCE = Performance(sampled_rows=128)
INTERVAL_SEED = 0


@dataclass(frozen=True)
class Score:
    """One task at one scale: the mean of its metric over n samples, and the mean's 95 % bootstrap
    interval.
    """

    scale: str
    task: str
    metric: str
    mean: float
    ci95: tuple[float, float]
    n: int


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
    """The model's greedy answer text to each sample, in order; None where a thinking answer breaks the
    form.
    """
    texts: list[str | None] = [None] * len(samples)
    done = 0
    numbered = list(enumerate(samples))
    for batch in micro_batches(
        numbered,
        lambda s: (s[1].scale, s[1].task),
        lambda s: len(s[1].question),
        PERFORMANCE.sampled_rows,
    ):
        asked = [sample for _, sample in batch]
        rows = items(
            [[s] for s in asked], load_inputs, experts.prompts, direct if mode == "direct" else thinking
        )
        with experts.only(asked[0].scale if scale_experts else None, asked[0].task if task_experts else None):
            ids = rollout.greedy(experts, [row.query for row in rows], most_tokens, experts.prompts.end)
        for (index, _), tokens in zip(batch, ids, strict=True):
            text = experts.prompts.text(tokens)
            texts[index] = text if mode == "direct" else parse_thinking(text)
        done += len(batch)
        progress(done, len(samples))
    return texts


def evaluate(
    experts: Experts,
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    mode: Mode,
    most_tokens: int,
    *,
    scale_experts: bool = True,
    task_experts: bool = True,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Score]:
    """One row for each (scale, task) among the samples, sorted; experts that are switched off are left
    out.
    """
    texts = answer(
        experts,
        samples,
        load_inputs,
        mode,
        most_tokens,
        scale_experts=scale_experts,
        task_experts=task_experts,
        progress=progress,
    )
    kinds: dict[tuple[str, str], list[tuple[str | None, Sample]]] = {}
    for text, sample in zip(texts, samples, strict=True):
        kinds.setdefault((sample.scale, sample.task), []).append((text, sample))
    rows = []
    for (scale, name), answers in sorted(kinds.items()):
        scores = TASKS[name].score(answers)
        interval = bootstrap_interval(scores, INTERVAL_SEED)
        rows.append(Score(scale, name, TASKS[name].metric, sum(scores) / len(scores), interval, len(scores)))
    return rows
