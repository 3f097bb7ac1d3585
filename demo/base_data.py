"""Public tissue for pretraining the embedded base: batches of drawn canvases, their questions and dense labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from client.tasks.prompt import THINK_INSTRUCTION
from demo.organs import public_organ, public_stain
from demo.questions import Question, Window, compose, regions, roi_questions, wsi_questions
from demo.tissue import FIELD, KINDS, Canvas, colour, draw

MARGIN, JITTER = 16, 12
DENSE_STRIDE = 4
GRIDS = ((3, 3), (3, 4), (4, 3))
STEP = 10  # thousandths of a region's side: the base writes coordinates in multiples of it
# How often a question is put: the hard tasks most; those without an object to find rarely.
ROI_WEIGHTS = {"classification": 0.7, "detection": 2.5, "segmentation": 2.5, "vqa": 0.7}
EMPTY_SHARE = 0.25
# Half of the canvases are composed like slides; the others are rich in what the hard tasks look for.
RICH = (0.38, 0.34, 0.07, 0.07, 0.07, 0.07)


@dataclass(frozen=True)
class Asked:
    """One training row: which image (or slide) of the batch, the user's text, the assistant's text, the task."""

    source: int
    prompt: str
    target: str
    task: str


@dataclass(frozen=True)
class PublicBatch:
    """`images` [N, 128, 128, 3] uint8; `kinds`, `objects` [N, 32, 32]; `slides`: image indices of each slide's tiles."""

    images: torch.Tensor
    kinds: torch.Tensor
    objects: torch.Tensor
    rois: list[Asked]
    slides: list[list[int]]
    wsis: list[Asked]


def _scaled(points: NDArray[np.float64], window: Window) -> list[int]:
    """Canvas pixels -> 0..1000 of the window, to the nearest step, flattened."""
    frame = (points.reshape(-1, 2) - window[:2]) / window[2:] * (1000 // STEP)
    return [int(v) * STEP for v in np.clip(np.rint(frame), 0, 1000 // STEP).ravel()]


def answer_text(question: Question, window: Window) -> str:
    """The answer in the grammar of `client.tasks.grammar`."""
    if question.task == "detection":
        boxes = [",".join(map(str, _scaled(np.asarray(b), window))) for b in question.boxes]
        return "".join(f"<bbox>[{b}]</bbox>" for b in boxes) or "none"
    if question.task == "segmentation":
        shapes = [",".join(map(str, _scaled(p.astype(np.float64), window))) for p in question.polygons]
        return "".join(f"<poly>[{p}]</poly>" for p in shapes) or "none"
    return question.answer


def ask(source: int, question: Question, window: Window, thinking: bool) -> Asked:
    """A row in the direct or in the thinking form."""
    answer = answer_text(question, window)
    if not thinking:
        return Asked(source, question.text, answer, question.task)
    target = f"<think>{question.thought}</think><answer>{answer}</answer>"
    return Asked(source, f"{question.text}\n{THINK_INSTRUCTION}", target, question.task)


def pick(questions: list[Question], count: int, rng: np.random.Generator) -> list[Question]:
    """`count` different questions, drawn by weight."""
    weights = np.array([ROI_WEIGHTS[q.task] for q in questions])
    for i, question in enumerate(questions):
        if question.task in ("detection", "segmentation") and not (question.boxes or question.polygons):
            weights[i] *= EMPTY_SHARE
    chosen = rng.choice(len(questions), count, replace=False, p=weights / weights.sum())
    return [questions[i] for i in chosen]


def public_canvas(rng: np.random.Generator) -> tuple[Canvas, NDArray[np.uint8]]:
    """One public canvas and its RGB."""
    grid = GRIDS[rng.integers(len(GRIDS))]
    cells = (
        compose(*grid, rng) if rng.random() < 0.5 else rng.choice(len(KINDS), grid, p=RICH).astype(np.uint8)
    )
    canvas = draw(cells, public_organ(rng), rng, MARGIN)
    return canvas, colour(canvas, public_stain(rng), rng)


class PublicTissue(IterableDataset[PublicBatch]):
    """An endless, reproducible stream of batches: batch i depends on (seed, i) alone."""

    def __init__(self, seed: int, canvases: int, rows_an_image: int, start: int = 0) -> None:
        self.seed, self.canvases, self.rows_an_image, self.start = seed, canvases, rows_an_image, start

    def __iter__(self) -> Iterator[PublicBatch]:
        """Yields batches from `start` on."""
        step = self.start
        while True:
            yield self.batch(np.random.default_rng((self.seed, step)))
            step += 1

    def batch(self, rng: np.random.Generator) -> PublicBatch:
        """Draws one batch: every field of every canvas is an image, and a tile of its slide."""
        images: list[NDArray[np.uint8]] = []
        kinds: list[NDArray[np.uint8]] = []
        objects: list[NDArray[np.uint8]] = []
        rois: list[Asked] = []
        wsis: list[Asked] = []
        slides: list[list[int]] = []
        for _ in range(self.canvases):
            canvas, rgb = public_canvas(rng)
            tiles = []
            for window in regions(canvas, MARGIN, JITTER, rng):
                x, y, w, h = window
                tiles.append(len(images))
                questions = roi_questions(canvas, window)
                rois += [
                    ask(len(images), q, window, rng.random() < 0.5)
                    for q in pick(questions, self.rows_an_image, rng)
                ]
                images.append(rgb[y : y + h, x : x + w])
                dense = (slice(y, y + h, DENSE_STRIDE), slice(x, x + w, DENSE_STRIDE))
                kinds.append(canvas.kinds[dense])
                objects.append(canvas.objects[dense])
            whole = (0, 0, FIELD, FIELD)
            wsis += [ask(len(slides), q, whole, rng.random() < 0.5) for q in wsi_questions(canvas)]
            slides.append(tiles)
        return PublicBatch(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(kinds)).long(),
            torch.from_numpy(np.stack(objects)).long(),
            rois,
            slides,
            wsis,
        )
