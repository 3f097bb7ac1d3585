"""The words of the user's turn: the question alone, or the question and the demand to think first."""

from __future__ import annotations

from client.tasks.sample import Sample

THINK_INSTRUCTION = (
    "First output the thinking process in <think> </think> and then the final answer in <answer> </answer>."
)


def direct(sample: Sample) -> str:
    """The prompt that wants the answer alone (SFT, direct evaluation)."""
    return sample.question


def thinking(sample: Sample) -> str:
    """The prompt that wants a thinking block and an answer block (GRPO)."""
    return f"{sample.question}\n{THINK_INSTRUCTION}"
