"""The model's greedy answers to samples: deterministic, each sample's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

from client.model import router
from client.model.base import Base
from client.model.experts import Experts
from client.model.stop import Stop
from client.tasks.grammar import ANSWER_ENDS, parse_thinking
from client.tasks.prompt import direct, thinking
from client.tasks.sample import Sample
from client.training import memory, rollout
from client.training.batch import LoadInputs, by_kind, items, micro_batches
from privacy.evaluation import Evaluation, NoisedEvaluation

Mode = Literal["direct", "thinking"]


def default_mode(stage: str) -> Mode:
    """As experts are asked that were trained up to this stage: thinking after GRPO, direct before."""
    return "thinking" if stage == "grpo" else "direct"


def at_once(
    base: Base, asked: Evaluation | NoisedEvaluation, most_tokens: int, free: int
) -> tuple[int, memory.Need]:
    """How many questions the experts that `asked` names can answer at once, in at most `most_tokens` each, where the device has
    `free` bytes, and what that needs. Raises `DeviceMemoryError` where not even one.
    """
    return memory.answering(
        memory.Decoder.of(base),
        memory.weights(base),
        max((form.rank for form in asked.forms.values()), default=1),
        sum(name.startswith("task/") for name in asked.experts_hash),
        free,
        memory.machine_free(base.device),
        most_tokens,
    )


@dataclass(frozen=True)
class Asking:
    """How a model is asked: its mode, the tokens of the longest answer that is read, and which kinds of expert are on.

    Task experts are the declared one of a sample's task, or, with `learned`, those that the router gives each question.
    """

    mode: Mode
    most_tokens: int
    scale_experts: bool = True
    task_experts: bool = True
    learned: bool = False

    @classmethod
    def of(cls, asked: Evaluation | NoisedEvaluation, mode: Mode | None = None) -> Asking:
        """The experts that `asked` names, each kind on that is among them; without a `mode`, in the one of the stage that
        they were trained up to.
        """
        on = {name.split("/")[0] for name in asked.experts_hash}
        stage = asked.point if isinstance(asked, NoisedEvaluation) else asked.stage
        return cls(
            mode or default_mode(stage),
            asked.max_answer_tokens,
            scale_experts="scale" in on,
            task_experts="task" in on,
        )


def said(
    experts: Experts,
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    asking: Asking,
    *,
    rows: int = memory.ROWS[0],
    apart: bool = False,
) -> Iterator[list[tuple[int, str]]]:
    """All that the model says to each sample (its thoughts too, in thinking mode), batch by batch as they come, at most
    `rows` at once.

    Yields (index into samples, text); every sample once. Between two batches the experts stay as the first was asked: use
    them for nothing else until the end. `apart`, for what will leave: a batch holds one patient's
    samples only, so that nobody else's can change a token (`client.training.batch`).
    """
    prompts = experts.prompts
    stop = ends(experts, asking.mode)
    question = direct if asking.mode == "direct" else thinking
    for (scale, task), own in by_kind(enumerate(samples), lambda s: s[1].kind).items():
        declared = asking.task_experts and not asking.learned
        on = (scale if asking.scale_experts else None, task if declared else None)
        with experts.only(*on), nullcontext() if asking.learned else experts.merged():
            for batch in micro_batches(
                own, lambda s: s[1].patient if apart else None, lambda s: len(s[1].question), rows
            ):
                asked = items([[sample] for _, sample in batch], load_inputs, prompts, question)
                queries = [item.query for item in asked]
                gates = router.gates_for(experts, queries, router.TOP_K) if asking.learned else None
                with nullcontext() if gates is None else experts.gated(on[0], gates):
                    ids = rollout.greedy(experts, queries, asking.most_tokens, stop)
                yield [(i, prompts.text(tokens)) for (i, _), tokens in zip(batch, ids, strict=True)]


def ends(experts: Experts, mode: Mode) -> Stop:
    """Where an answer in this form ends: with its turn, or with the answer's closing tag."""
    return experts.prompts.stop("" if mode == "direct" else ANSWER_ENDS)


def answer_in(text: str, mode: Mode) -> str | None:
    """The answer in what was said; None where a thinking answer breaks the form."""
    return text if mode == "direct" else parse_thinking(text)


def answer(
    experts: Experts,
    samples: Sequence[Sample],
    load_inputs: LoadInputs,
    asking: Asking,
    progress: Callable[[int, int], None] = lambda done, of: None,
    *,
    rows: int = memory.ROWS[0],
    apart: bool = False,
) -> list[str | None]:
    """The model's answer to each sample, in order; None where a thinking answer breaks the form. `rows`, `apart`: `said`."""
    texts: list[str | None] = [None] * len(samples)
    done = 0
    for batch in said(experts, samples, load_inputs, asking, rows=rows, apart=apart):
        for index, text in batch:
            texts[index] = answer_in(text, asking.mode)
        done += len(batch)
        progress(done, len(samples))
    return texts
