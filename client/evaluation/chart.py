"""Figures as a bar chart with intervals, and curves as a line chart: SVG, drawn without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from client.evaluation.scores import Score

_STYLE = (
    "<style>text{font:12px 'Helvetica Neue',Helvetica,Arial,'Liberation Sans',sans-serif;fill:#1c2733}"
    ".soft{fill:#5b6b7b}.grid{stroke:#dbe2e8;stroke-width:1}.end{text-anchor:end}.mid{text-anchor:middle}"
    ".ci{stroke:#1c2733;stroke-width:1.5}.raw{stroke-width:1;opacity:.35;fill:none}"
    ".line{stroke-width:2.2;fill:none}</style>"
)
_COLOURS = ("#1f5fa8", "#c2570c", "#1d6b44", "#7a3f9d", "#a3271e", "#0f766e", "#8a6d1f", "#475569")
_LEFT, _WIDE, _ROW = 250, 760, 34


def bars(rows: Sequence[Score]) -> str:
    """A horizontal bar a row from 0 to 1, its 95 % interval as a whisker, its figure beside it."""
    height = 30 + _ROW * len(rows) + 26
    span = _WIDE - _LEFT - 90

    def across(share: float) -> float:
        return round(_LEFT + span * min(max(share, 0.0), 1.0), 1)

    parts = [_open(_WIDE, height, "Figures with their 95 % intervals")]
    for tick in range(0, 11, 2):
        x, place = across(tick / 10), height - 22
        parts.append(f'<line class="grid" x1="{x}" y1="14" x2="{x}" y2="{place}"/>')
        parts.append(f'<text class="soft mid" x="{x}" y="{place + 16}">{tick / 10:.1f}</text>')
    for number, row in enumerate(rows):
        y = 20 + _ROW * number
        low, high = (across(end) for end in row.ci95)
        colour = _COLOURS[0] if row.scale == "roi" else _COLOURS[5]
        parts += [
            f'<text class="end" x="{_LEFT - 12}" y="{y + 13}">{escape(row.scale)} {escape(row.task)}</text>',
            f'<text class="soft end" x="{_LEFT - 12}" y="{y + 26}" style="font-size:10.5px">'
            f"{escape(row.metric)}, n = {row.n}</text>",
            f'<rect x="{_LEFT}" y="{y + 3}" width="{across(row.mean) - _LEFT:.1f}" height="20" rx="2" '
            f'fill="{colour}" opacity=".85"/>',
            f'<path class="ci" d="M{low} {y + 13}H{high}M{low} {y + 8}v10M{high} {y + 8}v10"/>',
            f'<text x="{_WIDE - 80}" y="{y + 18}">{row.mean:.3f}</text>',
        ]
    return "".join([*parts, "</svg>"])


def lines(curves: Mapping[str, Sequence[tuple[int, float]]], across: str, up: str) -> str:
    """One curve a name: the values faintly, their running mean over the last tenth of the curve boldly.

    A curve is (place, value) by rising place; `across` names what places count from 1, `up` what the values are. At
    least one value in all.
    """
    longest = max(place for points in curves.values() for place, _ in points)
    most = max(value for points in curves.values() for _, value in points)
    top = max(0.25, math.ceil(most * 4) / 4)
    width, height, left, right, under = _WIDE, 380, 56, 150, 44

    def at(place: int, value: float) -> str:
        x = left + (width - left - right) * ((place - 1) / max(1, longest - 1))
        return f"{x:.1f},{16 + (height - 16 - under) * (1 - max(0.0, value) / top):.1f}"

    parts = [_open(width, height, f"{up} by {across}")]
    for tick in range(round(top * 4) + 1):
        y = at(1, tick / 4).split(",")[1]
        parts.append(f'<line class="grid" x1="{left}" y1="{y}" x2="{width - right}" y2="{y}"/>')
        parts.append(f'<text class="soft end" x="{left - 8}" y="{float(y) + 4}">{tick / 4:.2f}</text>')
    for place in sorted({1, (longest + 1) // 2, longest}):
        x = at(place, 0).split(",")[0]
        parts.append(f'<text class="soft mid" x="{x}" y="{height - under + 18}">{place}</text>')
    middle = (left + width - right) / 2
    parts.append(f'<text class="soft mid" x="{middle}" y="{height - 8}">{escape(across)}</text>')
    parts.append(f'<text class="soft" x="{left}" y="11">{escape(up)}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places, values = zip(*curve, strict=True)
        for kind, drawn in (("raw", values), ("line", running_mean(values))):
            points = " ".join(map(at, places, drawn))
            parts.append(f'<polyline class="{kind}" stroke="{colour}" points="{points}"/>')
        down = 30 + 20 * number
        parts.append(
            f'<rect x="{width - right + 16}" y="{down - 9}" width="12" height="10" rx="2" fill="{colour}"/>'
        )
        parts.append(f'<text x="{width - right + 34}" y="{down}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def running_mean(values: Sequence[float]) -> list[float]:
    """At each place the mean over the last tenth of the curve's length, at least one value, as far as there is one."""
    window = max(1, len(values) // 10)
    return [sum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values))]


def _open(width: int, height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title>{_STYLE}"
    )
