"""The best, the median and the worst answer of each kind of question about a region, with their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from client.errors import SlideError
from client.evaluation.drawing import SIDE, drawn, outlines
from client.evaluation.scores import Answered, of_kinds
from client.slides.slide import Slide, open_slide
from client.tasks import segmentation
from client.tasks.registry import TASKS
from client.tasks.sample import Polygons, Sample


@dataclass(frozen=True)
class Example:
    """One answer: which of its kind it is ("best", "median", "worst"), what it scored, and its picture."""

    which: str
    sample: Sample
    answer: str | None
    score: float
    picture: Image.Image


def examples(answers: Sequence[Answered], slides: Mapping[str, Slide]) -> list[Example]:
    """Up to three of each kind at `roi`, no sample twice; where some have shapes to find, of these alone.

    One whose slide can't be read any more is left out.
    """
    found = []
    for (scale, task), pairs in of_kinds(answers):
        if scale == "roi":
            shown = [pair for pair in pairs if outlines(pair[1].answer)] or pairs
            scored = list(zip(TASKS[task].score(shown), shown, strict=True))
            for which, score, (answer, sample) in chosen(scored):
                try:
                    picture = _picture(answer, sample, slides[sample.slide])
                except SlideError:
                    continue
                found.append(Example(which, sample, answer, score, picture))
    return found


def chosen(scored: Sequence[tuple[float, Answered]]) -> Iterator[tuple[str, float, Answered]]:
    """Best, median and worst by score, each once; among equals the one with the most shapes to see."""
    left = list(scored)
    median = sorted(score for score, _ in left)[len(left) // 2] if left else 0.0
    wanted = (("best", 1.0), ("worst", 0.0), ("median", median))
    taken = {}
    for which, aim in wanted:
        if left:
            pick = min(left, key=lambda s: (abs(s[0] - aim), -_shapes(s[1][1])))
            left.remove(pick)
            taken[which] = pick
    for which in ("best", "median", "worst"):
        if which in taken:
            yield which, *taken[which]


def _shapes(sample: Sample) -> int:
    return len(outlines(sample.answer))


def _picture(answer: str | None, sample: Sample, slide: Slide) -> Image.Image:
    region = sample.region
    assert region is not None  # only regions have pictures
    with open_slide(slide.path, slide.mpp) as reader:
        mpp = max(slide.mpp, max(region.width, region.height) * slide.mpp / SIDE)
        image = reader.read(region.x, region.y, region.width, region.height, mpp)
    predicted = None if answer is None else TASKS[sample.task].parse(answer)
    found = (
        segmentation.TASK.found_in_boxes(predicted.polygons, sample)
        if isinstance(predicted, Polygons)
        else None
    )
    return drawn(image, outlines(sample.answer), outlines(predicted), found=found)
