"""One local evaluation: every question of a hospital asked, scored, and laid down in a folder of its own.

Private: answers and figures are of the hospital's own patients. Nothing here is sent, logged or charged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.errors import SlideError
from client.evaluation.answers import Asking, Mode, answer_in, at_once, said
from client.evaluation.house import EvaluationError, Model, Questions
from client.evaluation.kept import KeptAnswers
from client.evaluation.scores import Answered, Score, further_scores, scores
from client.tasks.sample import Sample, without_slide
from client.training import memory
from client.training.batch import LoadInputs
from privacy import canonical
from privacy.code_hash import code_hash
from privacy.evaluation import Evaluation

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Report:
    """What came of an evaluation. `scores` has each kind's own metric, `further` what is told beside it."""

    which: Evaluation
    mode: Mode
    answers: tuple[Answered, ...]
    scores: tuple[Score, ...]
    further: tuple[Score, ...]
    skipped: Mapping[str, str]


def run(
    model: Model,
    questions: Questions,
    asking: Asking,
    folder: Path,
    inputs: LoadInputs,
    progress: Progress,
    share: float | None,
) -> Report:
    """Ask everything that `folder` holds no answer to yet, and score all; within a `share` of a GPU's memory (None: all of it).

    A slide that can't be read any more is left out and named. `progress(done, of)` counts questions. Raises
    `EvaluationError` where nothing is left, `DeviceMemoryError` where not even one question fits.
    """
    base = model.experts.base
    rows, _ = at_once(base, model.which, asking.most_tokens, memory.free_bytes(base.device, share))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    skipped, samples = dict(questions.skipped), questions.samples
    named = {id(sample): sample_name(sample, questions.prints[sample.slide]) for sample in samples}
    with KeptAnswers(folder, subject(model.which, asking)) as kept:
        while left := [sample for sample in samples if named[id(sample)] not in kept.said]:
            try:
                for batch in said(model.experts, left, inputs, asking, rows=rows):
                    kept.keep((named[id(left[index])], text) for index, text in batch)
                    progress(sum(named[id(s)] in kept.said for s in samples), len(samples))
            except SlideError as error:
                skipped[error.name] = error.reason
                samples = without_slide(samples, error)
        answers = [(answer_in(kept.said[named[id(s)]], asking.mode), s) for s in samples]
    if not answers:
        raise EvaluationError("no slide can be read any more: check the slide folder")
    return _report(model.which, asking.mode, answers, skipped)


def subject(which: Evaluation, asking: Asking) -> str:
    """A hash of all that answers depend on beside the question: experts, base, how it is asked, code."""
    parts = [which.to_bytes().decode(), repr(asking), code_hash()]
    return canonical.digest("\0".join(parts).encode())


def sample_name(sample: Sample, slide: str) -> str:
    """A hash of a question and of the slide (its fingerprint) that it is about."""
    return canonical.digest(f"{slide}\0{sample!r}".encode())


def _report(which: Evaluation, mode: Mode, answers: Sequence[Answered], skipped: Mapping[str, str]) -> Report:
    return Report(
        which, mode, tuple(answers), tuple(scores(answers)), tuple(further_scores(answers)), skipped
    )
