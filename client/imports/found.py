"""What a source of annotations says: the frozen types between reading it and asking about it.

All coordinates are level-0 pixels of the slide; x runs to the right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from client.errors import ClientError
from client.imports.shapes import Part, Rectangle, Shape
from client.tasks.sample import Region


@dataclass(frozen=True)
class ImportProblem:
    """One thing wrong with a source: where it stands there, what is wrong, what to do."""

    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.advice}"


class ImportSourceError(ClientError):
    """A source that can't be imported; `.problems` and the message hold all that was found."""

    def __init__(self, problems: Sequence[ImportProblem]) -> None:
        lines = [f"nothing was written, {len(problems)} problem(s):", *(f"  {p}" for p in problems)]
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Annotation:
    """One object of one class on a slide. `shape` None: only the box is known.

    A crowd stands for several objects that nobody told apart: it has a mask, yet neither box nor count.
    """

    slide: str
    label: str
    box: Rectangle
    shape: Shape | None
    where: str
    crowd: bool = False


@dataclass(frozen=True)
class Field:
    """A part of a slide in which every object of the asked classes is annotated.

    `outline` None: it is the region. Otherwise nothing is known of what lies in the region and outside the outline.
    `whole`: the whole slide, for want of a better: only its annotated parts are worth asking about.
    """

    slide: str
    region: Region
    where: str
    outline: Part | None = None
    whole: bool = False


@dataclass(frozen=True)
class Found:
    """All that a source says, and what is wrong with it. `labels`: the classes that it knows, in its order.

    `unread` names each slide and class (None: any class) of which an object could not be read: how many there are, and
    where, is not known.
    """

    fields: tuple[Field, ...]
    annotations: tuple[Annotation, ...]
    labels: tuple[str, ...]
    problems: tuple[ImportProblem, ...]
    unread: frozenset[tuple[str, str | None]] = frozenset()
