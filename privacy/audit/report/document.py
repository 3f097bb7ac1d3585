"""What a report is made of, whatever it is drawn on: plain text only, which whoever draws it must escape."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.audit.report.chart import Chart


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.  `widths` are the columns' shares of the page; `mono` columns hold hashes."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]
    mono: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """A heading, what it says in sentences, and then its figures."""

    title: str
    text: tuple[str, ...] = ()
    chart: Chart | None = None
    table: Table | None = None
    level: int = 2


@dataclass(frozen=True)
class Document:
    """A whole report.  `clean` decides the colour of the verdict, and nothing else does."""

    title: str
    subtitle: str
    clean: bool
    verdict: str
    sections: tuple[Section, ...]
