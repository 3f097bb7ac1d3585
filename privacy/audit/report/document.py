"""What a report is made of, whatever it is drawn on: plain text only, which whoever draws it must escape.

Text from a book, whoever wrote it, is made printable here, and cut where it is too long to be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from privacy.audit.report.chart import Chart
from privacy.printable import printable

_LETTERS = 20  # of a cell, at most, for each hundredth of the page's width: no cell is higher than a page
_PARAGRAPH = 4000
_SHOWN = 25  # rows of a long table that a screen shows at first


def fitted(text: str, most: int) -> str:
    """`text` on one line of printable letters, `most` of them at most."""
    shown = printable(text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 3] + "..."


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.  `widths` are the columns' shares of the page; `mono` columns hold hashes.

    `latest` says that the last rows are what is looked at first: a screen then folds the ones before them.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]
    mono: frozenset[int] = frozenset()
    latest: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(map(self._fitted, self.rows)))

    @property
    def parts(self) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
        """Rows to fold away on a screen, and rows to show."""
        cut = len(self.rows) - _SHOWN if self.latest and len(self.rows) > 2 * _SHOWN else 0
        return self.rows[:cut], self.rows[cut:]

    def _fitted(self, row: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            fitted(cell, _LETTERS * width * 100 // sum(self.widths))
            for cell, width in zip(row, self.widths, strict=True)
        )


@dataclass(frozen=True)
class Section:
    """A heading, what it says in sentences, and then its figures.  `listed` ones stand in the table of contents."""

    title: str
    text: tuple[str, ...] = ()
    chart: Chart | None = None
    table: Table | None = None
    level: int = 2
    listed: bool = False

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
