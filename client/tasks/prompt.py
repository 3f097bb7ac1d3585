"""The words of the user's turn: the question, what its task adds to it, and in GRPO the demand to think first."""

from __future__ import annotations

from client.tasks.registry import TASKS
from client.tasks.sample import Sample

THINK_INSTRUCTION = (
    "First output the thinking process in <think> </think> and then the final answer in <answer> </answer>."
)


def direct(sample: Sample) -> str:
    """The prompt that wants the answer alone (SFT, direct evaluation)."""
    instruction = TASKS[sample.task].instruction
    return f"{sample.question}\n{instruction}" if instruction else sample.question


def thinking(sample: Sample) -> str:
    """The prompt that wants a thinking block and an answer block (GRPO)."""
    return asked_to_think(direct(sample))


def asked_to_think(words: str) -> str:
    """The same words, wanting a thinking block and an answer block."""
    return f"{words}\n{THINK_INSTRUCTION}"
