"""What is asked about drawn tissue, with the true answer: the demo's questions, public and private alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.tissue import FIELD, GLASS, KINDS, Canvas

DIAGNOSES = ("benign", "inflamed", "carcinoma", "high-grade")
YES_NO = ("yes", "no")
Window = tuple[int, int, int, int]  # x, y, width, height in canvas pixels


@dataclass(frozen=True)
class Question:
    """One question and its answer.  Boxes [n, 4] and polygons [n, points, 2] are in canvas pixels.

    `thought` is what the public base is taught to think before it answers; hospitals label nothing of the kind.
    """

    task: str
    text: str
    answer: str = ""
    thought: str = ""
    boxes: tuple[tuple[float, ...], ...] = ()
    polygons: tuple[NDArray[np.float32], ...] = ()
    choices: tuple[str, ...] = ()


def roi_questions(canvas: Canvas, window: Window) -> list[Question]:
    """All questions about one region of interest; a region is about one field, the one at its centre."""
    x, y, w, h = window
    kind = KINDS[canvas.kinds[y + h // 2, x + w // 2]]
    seen = canvas.kinds[y : y + h, x : x + w]
    shares = np.bincount(seen.ravel(), minlength=GLASS + 1)[:GLASS] / seen.size
    visible = " ".join(KINDS[k] for k in np.argsort(-shares) if shares[k] > 0.15)

    def inside(point: tuple[float, float]) -> bool:
        return x <= point[0] < x + w and y <= point[1] < y + h

    glands = sorted((g for g in canvas.glands if inside(g.centre)), key=lambda g: g.centre[1])
    boxes = tuple(
        (max(g.box[0], x), max(g.box[1], y), min(g.box[2], x + w), min(g.box[3], y + h)) for g in glands
    )
    nests = [np.clip(n.outline, (x, y), (x + w, y + h)) for n in canvas.nests if inside(n.centre)]
    mitosis = any(inside(m) for m in canvas.mitoses)
    count = str(len(boxes))
    return [
        Question("classification", "Which tissue is this?", kind, visible, choices=KINDS),
        Question("detection", "Box every gland.", thought=f"{count} glandular", boxes=boxes),
        Question(
            "segmentation", "Outline the tumour.", thought=f"{len(nests)} tumour", polygons=tuple(nests)
        ),
        Question("vqa", "How many glands are there?", count, "glandular", choices=tuple("01234")),
        Question("vqa", "Are there mitoses?", "yes" if mitosis else "no", kind, choices=YES_NO),
        Question(
            "vqa",
            "Is there fat?",
            "yes" if shares[KINDS.index("fat")] > 0.15 else "no",
            visible,
            choices=YES_NO,
        ),
    ]


def diagnosis(cells: NDArray[np.uint8]) -> str:
    """The slide's diagnosis: tumour with necrosis is high-grade, tumour alone carcinoma, many lymphoid fields inflamed."""
    counts = np.bincount(cells.ravel(), minlength=GLASS + 1)
    if counts[KINDS.index("tumour")]:
        return "high-grade" if counts[KINDS.index("necrosis")] else "carcinoma"
    return "inflamed" if counts[KINDS.index("lymphoid")] >= 3 else "benign"


def wsi_questions(canvas: Canvas) -> list[Question]:
    """All questions about a whole slide."""
    counts = np.bincount(canvas.cells.ravel(), minlength=GLASS + 1)[:GLASS]
    ranked = np.argsort(-counts, kind="stable")
    found = " ".join(KINDS[k] for k in ranked if counts[k])
    questions = [
        Question(
            "classification", "What is the diagnosis?", diagnosis(canvas.cells), found, choices=DIAGNOSES
        )
    ]
    for kind in ("fat", "necrosis"):
        answer = "yes" if counts[KINDS.index(kind)] else "no"
        questions.append(Question("vqa", f"Is there {kind} on the slide?", answer, found, choices=YES_NO))
    if counts[ranked[0]] > counts[ranked[1]]:
        questions.append(
            Question("vqa", "Which tissue is the most common?", KINDS[ranked[0]], found, choices=KINDS)
        )
    return questions


def compose(rows: int, cols: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A slide's fields [rows, cols]: a diagnosis drawn evenly, then the fields that make it true; up to two of glass."""
    wanted = DIAGNOSES[rng.integers(len(DIAGNOSES))]
    glandular, tumour, stroma, fat, lymphoid, necrosis = range(len(KINDS))
    size = rows * cols
    must = {
        "benign": [],
        "inflamed": [lymphoid] * int(rng.integers(3, max(4, size // 2))),
        "carcinoma": [tumour] * int(rng.integers(1, max(2, size // 2))),
        "high-grade": [tumour] * int(rng.integers(1, max(2, size // 3)))
        + [necrosis] * int(rng.integers(1, 3)),
    }[wanted]
    others = [glandular, glandular, stroma]
    others += [fat] if rng.random() < 0.5 else []
    others += [necrosis] if wanted == "benign" and rng.random() < 0.4 else []
    fields = must + [int(rng.choice(others)) for _ in range(size - len(must))]
    cells = np.asarray(fields[:size], np.uint8)
    rng.shuffle(cells)
    for spot in rng.choice(size, int(rng.integers(0, 3)), replace=False):
        if cells[spot] in (glandular, stroma):
            cells[spot] = GLASS
    return cells.reshape(rows, cols)


def regions(canvas: Canvas, margin: int, jitter: int, rng: np.random.Generator) -> list[Window]:
    """One window of FIELD x FIELD pixels about each field of tissue, off its centre by at most `jitter` <= margin."""
    rows, cols = canvas.cells.shape
    spots = [(r, c) for r in range(rows) for c in range(cols) if canvas.cells[r, c] != GLASS]
    shifts = rng.integers(-jitter, jitter + 1, (len(spots), 2))
    return [
        (margin + c * FIELD + int(dx), margin + r * FIELD + int(dy), FIELD, FIELD)
        for (r, c), (dx, dy) in zip(spots, shifts, strict=True)
    ]
