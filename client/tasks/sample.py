"""A question about a slide and its true answer: the frozen types that tasks, training and evaluation share.

Coordinates of answers lie in one frame: integers 0..1000 across the region's width and, apart from that,
across its height (so a square in the frame is no square in a non-square region). `client.tasks.frame`
converts once, at the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from client.errors import AnswerError, SampleError, SlideError
from privacy.experts import TASKS, tasks_at

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

    @property
    def points(self) -> tuple[tuple[int, int], ...]:
        """Its corners, clockwise from the upper left: a box is an outline too."""
        return (self.x1, self.y1), (self.x2, self.y1), (self.x2, self.y2), (self.x1, self.y2)

    def bounds(self) -> Box:
        """The box itself."""
        return self


@dataclass(frozen=True)
class Polygon:
    """A closed outline in the frame: at least three points, not all on one line; the last point joins the first. It may
    cross itself: what is inside is by the even-odd rule."""

    points: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(self.points) < 3:
            raise AnswerError(f"a polygon needs at least three points, not {len(self.points)}")
        self.bounds()
        if collinear(self.points):
            raise AnswerError("the points of a polygon must not all lie on one line")

    def bounds(self) -> Box:
        """The smallest box around the outline."""
        xs = [x for x, _ in self.points]
        ys = [y for _, y in self.points]
        return Box(min(xs), min(ys), max(xs), max(ys))


def collinear(points: Sequence[tuple[int, int]]) -> bool:
    """Whether the points, at least one, all lie on one line. An outline that crosses itself may have an area that is 0 by
    its sign, and yet spans one.
    """
    (x, y), *others = points
    arms = [(a - x, b - y) for a, b in others]
    c, d = next(filter(any, arms), (0, 0))
    return all(a * d == b * c for a, b in arms)


class Answer:
    """The true answer to a question, or a given one. Each task states which kind of answer it takes."""


@dataclass(frozen=True)
class Words(Answer):
    """An answer in words: one line, single spaces, not empty."""

    text: str

    def __post_init__(self) -> None:
        if not self.text or self.text != " ".join(self.text.split()):
            raise AnswerError(
                f"an answer in words is one line, single-spaced and not empty, not {self.text!r}"
            )


@dataclass(frozen=True)
class Label(Words):
    """A class word or phrase."""


@dataclass(frozen=True)
class Text(Words):
    """A free answer."""


@dataclass(frozen=True)
class Boxes(Answer):
    """Found objects in order of the answer; none is an answer too."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Polygons(Answer):
    """Outlined regions in order of the answer, some of them perhaps by a box; none is an answer too."""

    polygons: tuple[Polygon | Box, ...]


@dataclass(frozen=True)
class Sample:
    """One question with its answer. `region` None asks about the whole slide.

    `choices` holds the closed set of answers where the question has one; the true answer is among them.
    Raises SampleError for a pair of scale and task that the method does not know. Whether the answer is of
    the kind that the task takes is for the task to say: `Task.render` refuses any other.
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
        if self.task not in TASKS:
            raise SampleError(f"unknown task {self.task!r}; known are {', '.join(TASKS)}")
        if self.scale not in TASKS[self.task]:
            possible = ", ".join(tasks_at(self.scale))
            raise SampleError(f"task {self.task} can't be asked at scale {self.scale}; {possible} can")
        if self.choices and not (isinstance(self.answer, Words) and self.answer.text in self.choices):
            raise SampleError(f"the answer is not among the choices {', '.join(self.choices)}")

    @property
    def scale(self) -> str:
        """`roi` for a question about a region, `wsi` for one about the whole slide."""
        return "wsi" if self.region is None else "roi"

    @property
    def kind(self) -> tuple[str, str]:
        """Scale and task."""
        return self.scale, self.task


def without_slide(samples: Sequence[Sample], error: SlideError) -> tuple[Sample, ...]:
    """The samples of all other slides. Raises the error again where none is of the slide that it names: then leaving
    out would change nothing, and whoever tries again would do so for ever.
    """
    left = tuple(sample for sample in samples if sample.slide != error.name)
    if len(left) == len(samples):
        raise error
    return left
