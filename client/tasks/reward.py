"""What a whole output is worth in GRPO."""

from __future__ import annotations

from client.tasks.grammar import parse_thinking
from client.tasks.sample import Sample
from client.tasks.task import Task

FORMAT_WEIGHT = 0.5


def format_reward(task: Task, output: str) -> float:
    """1 if the whole output is one think block and one answer block whose answer parses under the task, else
    0."""
    answer = parse_thinking(output)
    return float(answer is not None and task.parse(answer) is not None)


def reward(task: Task, output: str, sample: Sample) -> float:
    """R_task + 0.5 R_format, in [0, 1.5]. An output without the form has no answer, so it earns nothing at
    all."""
    answer = parse_thinking(output)
    r_task = 0.0 if answer is None else task.reward(answer, sample)
    return r_task + FORMAT_WEIGHT * format_reward(task, output)
