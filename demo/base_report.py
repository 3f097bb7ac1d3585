"""How good the embedded base is on public tissue that it was not trained on; writes the figures of its data card.

python -m demo.base_report          # prints the table, writes client/model/embedded/scores.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from client.evaluation.answers import Asking
from client.evaluation.scores import Score, evaluate
from client.model.base import Base
from client.model.experts import attach
from client.model.visual import Visual, encode_images
from client.tasks.frame import boxes_to_frame, on_grid, polygons_to_frame
from client.tasks.sample import Answer, Label, Region, Sample, Text
from demo.base_data import JITTER, MARGIN, STEP, public_canvas
from demo.questions import Question, Window, regions, roi_questions, wsi_questions
from demo.recipe import ANSWER_TOKENS
from demo.tissue import FIELD

EMBEDDED = Path(__file__).parents[1] / "client" / "model" / "embedded"
TEST_SEED = 987_001  # no batch of pretraining starts from it
COUNT = "How many glands are there?"
GOALS = {"roi/detection": 0.5, "roi/segmentation": 0.7, "roi/classification": 0.95, "count": 0.9}


@dataclass(frozen=True)
class PublicTest:
    """Samples about drawn canvases, and what the model sees of each."""

    samples: list[Sample]
    visuals: dict[tuple[str, Region | None], Visual]

    def load(self, samples: Sequence[Sample]) -> list[Visual]:
        """Inputs of samples, as a hospital's loader gives them."""
        return [self.visuals[s.slide, s.region] for s in samples]


def draw_test(base: Base, canvases: int) -> PublicTest:
    """Draws `canvases` public canvases and puts every question about them; a task's empty cases one to three full ones."""
    test = PublicTest([], {})
    for number in range(canvases):
        rng = np.random.default_rng((TEST_SEED, number))
        canvas, rgb = public_canvas(rng)
        name = f"public-{number}"
        windows = regions(canvas, MARGIN, JITTER, rng)
        seen = encode_images(base, [rgb[y : y + h, x : x + w] for x, y, w, h in windows])
        for window, visual in zip(windows, seen, strict=True):
            region = Region(*window)
            test.visuals[name, region] = visual
            for question in roi_questions(canvas, window):
                marked = question.task in ("detection", "segmentation")
                if not marked or question.boxes or question.polygons or rng.random() < 0.1:
                    test.samples.append(_sample(name, question, region, window))
        test.visuals[name, None] = Visual(torch.stack([v.tokens.mean(0) for v in seen]))
        whole = (0, 0, FIELD, FIELD)
        test.samples.extend(_sample(name, question, None, whole) for question in wsi_questions(canvas))
    return test


def _sample(name: str, question: Question, region: Region | None, window: Window) -> Sample:
    frame = region or Region(*window)
    answer: Answer
    if question.task == "detection":
        answer = on_grid(boxes_to_frame(question.boxes, frame), STEP)
    elif question.task == "segmentation":
        answer = on_grid(polygons_to_frame([p.tolist() for p in question.polygons], frame), STEP)
    else:
        answer = Label(question.answer) if question.task == "classification" else Text(question.answer)
    return Sample(name, name, region, question.task, question.text, answer, question.choices)


def measure(folder: Path, canvases: int) -> dict[str, Score]:
    """Scores by `scale/task`, and of the counting question alone as `count`."""
    base = Base.load(folder)
    experts = attach(base, {}, 0)
    test = draw_test(base, canvases)
    off = partial(
        evaluate, experts, asking=Asking("direct", ANSWER_TOKENS, scale_experts=False, task_experts=False)
    )
    rows = off(samples=test.samples, load_inputs=test.load)
    counts = [s for s in test.samples if s.question == COUNT]
    (count,) = off(samples=counts, load_inputs=test.load)
    return {f"{r.scale}/{r.task}": r for r in rows} | {"count": count}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=EMBEDDED)
    parser.add_argument("--canvases", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    scores = measure(asked.base, asked.canvases)
    lines = [json.dumps({"name": name} | asdict(score)) for name, score in scores.items()]
    (asked.base / "scores.jsonl").write_text("\n".join(lines) + "\n")
    if asked.json:
        print(json.dumps({name: asdict(score) for name, score in scores.items()}))
        return
    for name, score in scores.items():
        goal = f"goal {GOALS[name]:.2f}" if name in GOALS else ""
        low, high = score.ci95
        print(f"{name:20} {score.metric:10} {score.mean:.3f}  ({low:.3f} to {high:.3f}, n {score.n})  {goal}")


if __name__ == "__main__":
    main()
