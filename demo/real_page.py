"""A page of example images: what some arms said about the same regions, drawn over the tissue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from client.evaluation.drawing import drawn, outlines
from client.evaluation.examples import chosen
from client.tasks.registry import TASKS
from client.tasks.sample import Sample
from demo.real_cohort import MAGNIFY, RealImage
from demo.real_scores import Said

ARMS = ("base", "federated, no privacy", "federated, epsilon 8")
CHOSEN_BY = ARMS[1]  # whose best, median and worst answers are shown
SIDE, MARGIN, LINE = 240, 8, 16


def draw_examples(
    path: Path, images: Sequence[RealImage], samples: Sequence[Sample], said: Mapping[str, Sequence[Said]]
) -> None:
    """Writes the page: a line a region, a column an arm; the truth in green, the answer in orange, the score below."""
    tissue = {image.name: image for image in images}
    lines = [
        (which, i) for task in ("detection", "segmentation") for which, i in _chosen(task, samples, said)
    ]
    size = (len(ARMS) * (SIDE + MARGIN) + MARGIN, len(lines) * (SIDE + 2 * LINE + MARGIN) + 2 * LINE)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    for column, name in enumerate(ARMS):
        pen.text((MARGIN + column * (SIDE + MARGIN), 8), name, fill="black")
    for line, (which, i) in enumerate(lines):
        sample = samples[i]
        region = sample.region
        assert region is not None  # only regions are asked about
        whole = tissue[sample.patient]
        top, left, bottom, right = (
            side // MAGNIFY
            for side in (region.y, region.x, region.y + region.height, region.x + region.width)
        )
        crop = whole.rgb[top:bottom, left:right]
        for column, name in enumerate(ARMS):
            text = said[name][0][i]
            answer = None if text is None else TASKS[sample.task].parse(text)
            at = (MARGIN + column * (SIDE + MARGIN), 2 * LINE + line * (SIDE + 2 * LINE + MARGIN))
            page.paste(drawn(crop, outlines(sample.answer), outlines(answer), SIDE), at)
            score = TASKS[sample.task].score([(text, sample)])[0]
            words = f"{sample.task}, {which}: {score:.2f}"
            pen.text((at[0], at[1] + SIDE + 2), words if answer else f"{words}, no answer", fill="black")
    page.save(path)


def _chosen(
    task: str, samples: Sequence[Sample], said: Mapping[str, Sequence[Said]]
) -> Iterator[tuple[str, int]]:
    """Best, median and worst answer of a task where there is something to find: (which, index of the sample)."""
    shown = [i for i, s in enumerate(samples) if s.task == task and outlines(s.answer)]
    pairs = [(said[CHOSEN_BY][0][i], samples[i]) for i in shown]
    scored = list(zip(TASKS[task].score(pairs), pairs, strict=True))
    number = {id(sample): i for i, (_, sample) in zip(shown, pairs, strict=True)}
    for which, _, (_, sample) in chosen(scored):
        yield which, number[id(sample)]
