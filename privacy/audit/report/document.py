"""What a report is made of, whatever it is drawn on: plain text only, which whoever draws it must escape.

Text from a book, whoever wrote it, is made printable here, and cut where it is too long to be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from privacy.audit.report.chart import Chart
from privacy.printable import printable

_LETTERS = 20  # of a cell, at most, for each hundredth of the page's width: no cell is higher than a page
_PARAGRAPH = 4000


def fitted(text: str, most: int) -> str:
    """`text` on one line of printable letters, `most` of them at most."""
    shown = printable(text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 3] + "..."


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.  `widths` are the columns' shares of the page; `mono` columns hold hashes."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]
    mono: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(map(self._fitted, self.rows)))

    def _fitted(self, row: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            fitted(cell, _LETTERS * width * 100 // sum(self.widths))
            for cell, width in zip(row, self.widths, strict=True)
        )


@dataclass(frozen=True)
class Section:
    """A heading, what it says in sentences, and then its figures."""

    title: str
    text: tuple[str, ...] = ()
    chart: Chart | None = None
    table: Table | None = None
    level: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", fitted(self.title, 100))
        object.__setattr__(self, "text", tuple(fitted(paragraph, _PARAGRAPH) for paragraph in self.text))


@dataclass(frozen=True)
class Document:
    """A whole report.  `clean` decides the colour of the verdict, and nothing else does."""

    title: str
    subtitle: str
    clean: bool
    verdict: str
    sections: tuple[Section, ...]
