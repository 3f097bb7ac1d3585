"""The evaluator's work: score the experts of a request on public data, and write the report of it into its own home.

The figures go to the consortium; the report, with plots and example images, stays where the images are: in
`evaluation/<stage>/` of the evaluator's home.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from client.evaluation.answers import Asking
from client.evaluation.examples import examples
from client.evaluation.house import Model, Questions
from client.evaluation.page import write_report
from client.evaluation.run import Progress, run
from client.evaluation.scores import Score
from client.model.experts import Experts
from client.slides.index import SlideIndex
from client.tasks.sample import Sample
from client.training.batch import LoadInputs
from privacy.evaluation import Evaluation


def evaluate_public(
    name: str,
    experts: Experts,
    asked: Evaluation,
    samples: Sequence[Sample],
    index: SlideIndex,
    inputs: LoadInputs,
    folder: Path,
    progress: Progress,
    share: float | None,
) -> list[Score]:
    """Each kind's own metric, then what is told beside it; killed and asked again, it goes on where it stopped.

    Raises as `client.evaluation.run.run` does.
    """
    skipped: Mapping[str, str] = {slide: error.reason for slide, error in index.skipped.items()}
    questions = Questions(tuple(samples), index.slides, skipped, index.prints)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = folder / asked.stage
    report = run(Model(experts, asked), questions, Asking.of(asked), place, inputs, progress, share)
    write_report(place, name, report, examples(report.answers, index.slides), datetime.now(UTC))
    return [*report.scores, *report.further]
