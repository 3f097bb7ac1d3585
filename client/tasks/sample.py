"""A question about a slide and its true answer: the frozen types that tasks, training and evaluation share.

Coordinates of answers lie in one frame: integers 0..1000 across the region's width and, apart from that,
across its height (so a square in the frame is no square in a non-square region). `client.tasks.frame`
converts once, at the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.errors import AnswerError, SampleError

FRAME = 1000


@dataclass(frozen=True)
class Region:
    """A rectangle of a slide in level-0 pixels; (x, y) is its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise SampleError(f"a region needs x, y >= 0 and width, height >= 1, not {self}")


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle in the frame, x1 < x2 and y1 < y2."""

    x1: int
    y1: int
    x2: int
    y2: int

    def __post_init__(self) -> None:
        if not (0 <= self.x1 < self.x2 <= FRAME and 0 <= self.y1 < self.y2 <= FRAME):
            raise AnswerError(f"a box needs 0 <= x1 < x2 <= {FRAME} and 0 <= y1 < y2 <= {FRAME}, not {self}")


@dataclass(frozen=True)
class Polygon:
    """A closed outline in the frame: at least three points that span an area; the last point joins the
    first."""

    points: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(self.points) < 3:
            raise AnswerError(f"a polygon needs at least three points, not {len(self.points)}")
        self.bounds()

    def bounds(self) -> Box:
        """The smallest box around the outline."""
        xs = [x for x, _ in self.points]
        ys = [y for _, y in self.points]
        return Box(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True)
class Label:
    """A class word or phrase: one line, single spaces, not empty."""

    text: str

    def __post_init__(self) -> None:
        _require_plain(self.text)


@dataclass(frozen=True)
class Text:
    """A free answer in words: one line, single spaces, not empty."""

    text: str

    def __post_init__(self) -> None:
        _require_plain(self.text)


@dataclass(frozen=True)
class Boxes:
    """Found objects in order of the answer; none is an answer too."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Polygons:
    """Outlined regions in order of the answer; none is an answer too."""

    polygons: tuple[Polygon, ...]


Answer = Label | Text | Boxes | Polygons

ANSWER_OF: dict[str, type[Answer]] = {
    "classification": Label,
    "detection": Boxes,
    "segmentation": Polygons,
    "vqa": Text,
}
TASKS_AT: dict[str, frozenset[str]] = {
    "roi": frozenset(ANSWER_OF),
    "wsi": frozenset({"classification", "vqa"}),
}


@dataclass(frozen=True)
class Sample:
    """One question with its answer. `region` None asks about the whole slide.

    `choices` holds the closed set of answers where the question has one; the true answer is among them.
    Raises SampleError for a pair of scale and task that the method does not know.
    """

    patient: str
    slide: str
    region: Region | None
    task: str
    question: str
    answer: Answer
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.patient and self.slide and self.question.strip()):
            raise SampleError("a sample needs a patient, a slide and a question")
        if self.task not in ANSWER_OF:
            raise SampleError(f"unknown task {self.task!r}; known are {', '.join(ANSWER_OF)}")
        if self.task not in TASKS_AT[self.scale]:
            possible = ", ".join(sorted(TASKS_AT[self.scale]))
            raise SampleError(f"task {self.task} can't be asked at scale {self.scale}; {possible} can")
        if not isinstance(self.answer, ANSWER_OF[self.task]):
            wanted, given = ANSWER_OF[self.task].__name__, type(self.answer).__name__
            raise SampleError(f"task {self.task} takes an answer of kind {wanted}, not {given}")
        if self.choices and not (isinstance(self.answer, Label | Text) and self.answer.text in self.choices):
            raise SampleError(f"the answer is not among the choices {', '.join(self.choices)}")

    @property
    def scale(self) -> str:
        """`roi` for a question about a region, `wsi` for one about the whole slide."""
        return "wsi" if self.region is None else "roi"


def _require_plain(text: str) -> None:
    if not text or text != " ".join(text.split()):
        raise AnswerError(f"an answer in words is one line, single-spaced and not empty, not {text!r}")
