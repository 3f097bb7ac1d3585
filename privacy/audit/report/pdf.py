"""A report as a PDF: the same sections, drawn with fpdf2 and its built-in fonts."""

from __future__ import annotations

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from privacy.audit.report.chart import XY, Chart
from privacy.audit.report.document import Document, Section, Table

_INK, _SOFT, _LINE, _WHITE = (28, 39, 51), (91, 107, 123), (219, 226, 232), (255, 255, 255)
_GOOD, _BAD, _BLUE = (29, 107, 68), (163, 39, 30), (31, 95, 168)
_CHART_HEIGHT = 48.0  # mm
_SIZES = {2: 14, 3: 10.5}


def render(document: Document) -> bytes:
    """The file's bytes.  Letters that Latin-1 lacks are shown as "?"."""
    pdf = _Page(format="A4")
    pdf.set_title(_latin(f"{document.title}: {document.subtitle}"))
    pdf.set_lang("en-GB")
    pdf.set_margins(18, 16)
    pdf.set_auto_page_break(True, 16)
    pdf.add_page()
    pdf.say(document.title, 20, bold=True, height=9)
    pdf.say(document.subtitle, 9.5, colour=_SOFT)
    pdf.ln(2)
    pdf.set_fill_color(*(_GOOD if document.clean else _BAD))
    pdf.say(document.verdict, 11, bold=True, colour=_WHITE, height=7, fill=True)
    pdf.set_fill_color(*_WHITE)  # or tables would take the verdict's
    for section in document.sections:
        pdf.section(section)
    return bytes(pdf.output())


class _Page(FPDF):
    def footer(self) -> None:
        """The page's number, of how many."""
        self.set_y(-12)
        self.set_font("Helvetica", size=8)
        self.set_text_color(*_SOFT)
        self.cell(0, 5, f"{self.page_no()} of {{nb}}", align="C")

    def say(
        self,
        text: str,
        size: float,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] = _INK,
        height: float = 4.8,
        fill: bool = False,
    ) -> None:
        """Text over the page's width."""
        self.set_font("Helvetica", "B" if bold else "", size)
        self.set_text_color(*colour)
        self.multi_cell(0, height, _latin(text), fill=fill, align="L", new_x="LMARGIN", new_y="NEXT")

    def section(self, section: Section) -> None:
        """One section; its heading stays with what follows."""
        if self.will_page_break(30 if section.chart is None else _CHART_HEIGHT + 30):
            self.add_page()
        self.ln(6 if section.level == 2 else 3)
        if section.listed:
            self.start_section(_latin(section.title))  # in the reader's outline
        self.say(section.title, _SIZES[section.level], bold=True, height=6)
        self.ln(1)
        for paragraph in section.text:
            self.say(paragraph, 9.5)
            self.ln(1)
        if section.chart is not None:
            self._chart(section.chart)
        if section.table is not None:
            self._table(section.table)

    def _table(self, table: Table) -> None:
        self.set_font("Helvetica", size=7.5)
        self.set_text_color(*_INK)
        self.set_draw_color(*_LINE)
        heading = FontFace(emphasis="BOLD", color=_SOFT)
        with self.table(
            col_widths=table.widths,
            headings_style=heading,
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            line_height=3.6,
            text_align="LEFT",
            padding=(0.8, 1.5, 0.8, 0),
        ) as drawn:
            for words in (table.headings, *table.rows):
                row = drawn.row()
                for number, word in enumerate(words):
                    mono = number in table.mono and words is not table.headings
                    row.cell(_latin(word), style=FontFace(family="Courier", size_pt=6.5) if mono else None)
        self.ln(2)

    def _chart(self, chart: Chart) -> None:
        left, top = self.l_margin + 10, self.get_y() + 2
        width = self.epw - 16

        def at(point: XY) -> XY:
            return left + point[0] * width, top + (1 - point[1]) * _CHART_HEIGHT

        self.set_font("Helvetica", size=7)
        self.set_text_color(*_SOFT)
        self.set_line_width(0.2)
        self.set_draw_color(*_LINE)
        for y, words in chart.up:
            self.polyline([at((0.0, y)), at((1.0, y))])
            self.text(left - 2 - self.get_string_width(words), at((0.0, y))[1] + 0.9, words)
        for x, words in chart.across:
            self.text(at((x, 0.0))[0] - self.get_string_width(words) / 2, top + _CHART_HEIGHT + 4, words)
        self.set_draw_color(*_BAD)
        self.set_line_width(0.35)
        with self.local_context():
            self.set_dash_pattern(dash=1.6, gap=1.2)
            self.polyline([at(point) for point in chart.budget])
        self.set_text_color(*_BAD)
        self._at_end(left + width, at(chart.budget[-1])[1] - 1.2, "budget (dashes)")
        self.set_draw_color(*_BLUE)
        self.set_line_width(0.6)
        self.polyline([at(point) for point in chart.epsilon])
        self.set_text_color(*_BLUE)
        self._at_end(left + width, at(chart.epsilon[-1])[1] - 1.2, "epsilon (line)")
        self.set_draw_color(*_INK)
        with self.local_context():
            self.set_dash_pattern(dash=0.5, gap=1.8)
            self.polyline([at(point) for point in chart.second])
        self._at_end(left + width, at(chart.second[-1])[1] + 3.4, "by the second accountant (dots)")
        self.set_line_width(0.2)
        self.set_y(top + _CHART_HEIGHT + 8)

    def _at_end(self, right: float, y: float, words: str) -> None:
        self.text(right - self.get_string_width(words), y, words)


def _latin(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")
