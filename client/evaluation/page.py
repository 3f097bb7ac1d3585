"""A report as one HTML file that asks nothing of any other place, and as JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from client.evaluation.chart import bars
from client.evaluation.drawing import outlines
from client.evaluation.examples import Example
from client.evaluation.run import Report
from client.evaluation.scores import Score
from client.tasks.registry import TASKS
from privacy import durable
from privacy.html_page import rendered

PAGE, VALUES, CHART = "report.html", "report.json", "figures.svg"
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Card:
    """An example as the page shows it."""

    which: str
    metric: str
    score: float
    question: str
    true: str
    said: str
    where: str
    picture: str


@dataclass(frozen=True)
class Page:
    """All that the template draws; plain text throughout, which it escapes, but for `chart`."""

    title: str
    subtitle: str
    rows: tuple[tuple[str, Score], ...]
    chart: Markup
    examples: tuple[tuple[str, tuple[Card, ...]], ...]
    facts: tuple[tuple[str, str], ...]


def as_json(hospital: str, report: Report) -> dict[str, Any]:
    """The figures and what was evaluated, as JSON values."""
    which = report.which
    return {
        "hospital": hospital,
        "mode": report.mode,
        "stage": which.stage,
        "base": which.base_hash,
        "experts": dict(which.experts_hash),
        "questions": len(report.answers),
        "patients": _patients(report),
        "skipped": dict(report.skipped),
        "scores": [asdict(score) for score in report.scores],
        "further": [asdict(score) for score in report.further],
    }


def html(hospital: str, report: Report, examples: Sequence[Example], at: datetime) -> str:
    """The page of a report that was made `at`."""
    page = Page(
        title=f"{hospital}: evaluation on own patients",
        subtitle=f"{len(report.answers)} questions about {_patients(report)} patients, {report.mode} answers; "
        f"{at:%d %B %Y, %H:%M} UTC",
        rows=in_order(report),
        chart=Markup(bars(report.scores)),  # noqa: S704 - numbers, and words that it escapes
        examples=tuple(
            (f"{kind[0]} {kind[1]}", tuple(_card(example) for example in group))
            for kind, group in groupby(examples, lambda e: e.sample.kind)
        ),
        facts=tuple(_facts(report).items()),
    )
    return rendered("client.evaluation", page=page)


def in_order(report: Report) -> tuple[tuple[str, Score], ...]:
    """All figures, "own" metrics each followed by the "further" ones of its kind."""
    rows: list[tuple[str, Score]] = []
    for score in report.scores:
        beside = [f for f in report.further if (f.scale, f.task) == (score.scale, score.task)]
        rows += [("own", score), *(("further", further) for further in beside)]
    return tuple(rows)


def write_report(
    folder: Path, hospital: str, report: Report, examples: Sequence[Example], at: datetime
) -> Path:
    """Write `report.json`, `figures.svg` and `report.html` for this user alone; returns the page's path."""
    page = folder / PAGE
    durable.replace(folder / VALUES, json.dumps(as_json(hospital, report), indent=1).encode() + b"\n")
    durable.replace(folder / CHART, bars(report.scores).encode())
    durable.replace(page, html(hospital, report, examples, at).encode())
    return page


def _patients(report: Report) -> int:
    return len({sample.patient for _, sample in report.answers})


def _facts(report: Report) -> Mapping[str, str]:
    which = report.which
    facts = {"base": which.base_hash, "stage": which.stage}
    facts |= dict(which.experts_hash) or {"experts": "none: the base alone"}
    skipped = ", ".join(f"{name} ({reason})" for name, reason in report.skipped.items())
    return facts | {"slides left out": skipped or "none"}


def _card(example: Example) -> Card:
    sample, task = example.sample, TASKS[example.sample.task]
    region = sample.region
    where = "" if region is None else f"{region.width} x {region.height} at ({region.x}, {region.y})"
    return Card(
        which=example.which,
        metric=task.metric,
        score=example.score,
        question=sample.question,
        true=_words(task.render(sample.answer), sample.task),
        said="no answer in the asked form" if example.answer is None else _words(example.answer, sample.task),
        where=f"{sample.slide}, {where}",
        picture=_data_uri(example.picture),
    )


def _words(text: str, task: str) -> str:
    """What an answer says: how many shapes, where it gives any, for they are drawn; else its text."""
    count = len(outlines(TASKS[task].parse(text)))
    return f"{count} shape{'s' if count > 1 else ''}, as drawn" if count else text or "nothing"


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
