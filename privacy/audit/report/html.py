"""A report as one HTML file that asks nothing of any other place: styles and drawings are in it."""

from __future__ import annotations

from html import escape

from markupsafe import Markup

from privacy.audit.report.chart import XY, Chart
from privacy.audit.report.document import Document
from privacy.html_page import rendered

_LABEL = "epsilon over time by two accountants, and the budget"
_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE = 760, 240, 46, 30, 10


def render(document: Document) -> str:
    """The page.  Everything from an export is escaped, whoever wrote it."""
    return rendered("privacy.audit.report", document=document, svg=svg)


def svg(chart: Chart) -> Markup:
    """The curve as a drawing within the page."""
    inner_width, inner_height = _WIDTH - 2 * _LEFT, _HEIGHT - _BELOW - _ABOVE

    def at(point: XY) -> str:
        return f"{_LEFT + point[0] * inner_width:.1f},{_ABOVE + (1 - point[1]) * inner_height:.1f}"

    def line(points: tuple[XY, ...], css: str) -> str:
        return f'<polyline class="{css}" points="{" ".join(map(at, points))}"/>'

    def words(point: XY, css: str, text: str, move: tuple[int, int]) -> str:
        x, y = (float(value) for value in at(point).split(","))
        return f'<text class="{css}" x="{x + move[0]:.1f}" y="{y + move[1]:.1f}">{escape(text)}</text>'

    parts = [line(((0.0, y), (1.0, y)), "grid") for y, _ in chart.up]
    parts += [words((0.0, y), "up", text, (-8, 4)) for y, text in chart.up]
    parts += [words((x, 0.0), "across", text, (0, 20)) for x, text in chart.across]
    parts += [line(chart.budget, "budget"), line(chart.epsilon, "epsilon"), line(chart.second, "second")]
    parts.append(words(chart.budget[-1], "end", "budget (dashes)", (-4, -6)))
    parts.append(words(chart.epsilon[-1], "now", "epsilon (line)", (-4, -6)))
    parts.append(words(chart.second[-1], "now", "by the second accountant (dots)", (-4, 16)))
    frame = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_LABEL}">'
    return Markup(frame + "".join(parts) + "</svg>")  # noqa: S704 - numbers, and words escaped above
