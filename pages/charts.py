"""Charts as SVG within a page: told apart by dashes and by words, never by colour alone; on a narrow screen they scroll.

No attribute is a style: a page's policy for what a browser may do forbids those; `style.css` has the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from pages.templates import seconds

_WIDE, _HIGH, _LEFT, _RIGHT, _ABOVE, _BELOW = 860, 268, 52, 150, 22, 40
_LETTER = 7.5  # its width, about
_DASHES = {"line": "", "second": "7 4", "third": "2 3", "limit": "10 3 2 3"}
_LABEL = 14.0  # between the words at the ends of two lines


@dataclass(frozen=True)
class Line:
    """A curve with its name at its end. `kind` is line, second, third or limit; `band` is (x, low, high); `steps` holds
    each value until the next.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "line"
    band: Sequence[tuple[float, float, float]] = ()
    steps: bool = False


@dataclass(frozen=True)
class Span:
    """From one time to another, in seconds; `level` is a badge's. Its `words` stand in it where there is room."""

    start: float
    end: float
    level: str
    words: str


@dataclass(frozen=True)
class Row:
    """A row of a timeline."""

    name: str
    spans: Sequence[Span]


def line_chart(
    title: str,
    lines: Sequence[Line],
    across: str,
    up: str,
    least: float | None = 0.0,
    most: float | None = None,
) -> Markup:
    """Curves over a common axis. `across` and `up` name the axes; `least` and `most` bound the vertical one, None takes
    the values' own. Values that are not finite are left out. Empty without any point.
    """
    kept = [_finite(line) for line in lines]
    points = [point for line in kept for point in line.points]
    if not points:
        return Markup("")
    lows = [low for line in kept for _, low, _ in line.band]
    highs = [high for line in kept for _, _, high in line.band]
    left, right = _wider(min(x for x, _ in points), max(x for x, _ in points))
    low = min([*(y for _, y in points), *lows]) if least is None else least
    high = max([*(y for _, y in points), *highs, low]) if most is None else most
    step = _step(*_wider(low, high))
    bottom, top = math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step
    bottom, top = _wider(bottom, top)

    def x_of(x: float) -> float:
        return _LEFT + (x - left) / (right - left) * (_WIDE - _LEFT - _RIGHT)

    def y_of(y: float) -> float:
        return (
            _HIGH - _BELOW - (min(max(y, bottom), top) - bottom) / (top - bottom) * (_HIGH - _ABOVE - _BELOW)
        )

    parts = []
    for n in range(round((top - bottom) / step) + 1):
        y = y_of(bottom + n * step)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{bottom + n * step:.6g}", "soft", "end"))
    x_step = max(1.0, _step(left, right))
    parts += [
        _text(x_of(n * x_step), _HIGH - _BELOW + 18, f"{n * x_step:g}", "soft", "middle")
        for n in range(math.ceil(left / x_step), math.floor(right / x_step) + 1)
    ]
    parts.append(_text((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 4, across, "soft", "middle"))
    parts.append(_text(_LEFT, _ABOVE - 8, up, "soft"))
    ends = []
    for line in kept:
        if not line.points:
            continue
        if line.band:
            there = [f"{x_of(x):.1f} {y_of(high):.1f}" for x, _, high in line.band]
            back = [f"{x_of(x):.1f} {y_of(low):.1f}" for x, low, _ in reversed(line.band)]
            parts.append(f'<path class="band {line.kind}" d="M{"L".join(there + back)}Z"/>')
        dashes = f' stroke-dasharray="{_DASHES[line.kind]}"' if _DASHES[line.kind] else ""
        parts.append(f'<path class="line {line.kind}"{dashes} d="{_path(line, x_of, y_of)}"/>')
        ends.append((y_of(line.points[-1][1]) + 4, line.name))
    for y, name in _apart(ends):
        parts.append(_text(_WIDE - _RIGHT + 8, y, name))
    return _chart(title, _WIDE, _HIGH, parts)


def timeline(title: str, rows: Sequence[Row], now: float | None = None) -> Markup:
    """What each row did when: seconds from the earliest start, a mark at `now`. Empty without any span."""
    spans = [span for row in rows for span in row.spans]
    if not spans:
        return Markup("")
    start = min(span.start for span in spans)
    _, end = _wider(start, max([*(span.end for span in spans), *([] if now is None else [now])]))
    left, right, row_high = 170, 20, 24
    high = _ABOVE + row_high * len(rows) + 26

    def x_of(at: float) -> float:
        return left + (at - start) / (end - start) * (_WIDE - left - right)

    parts, step = [], _time_step(end - start)
    for n in range(int((end - start) / step) + 1):
        x = x_of(start + n * step)
        parts.append(f'<path class="grid" d="M{x:.1f} {_ABOVE}V{high - 24}"/>')
        parts.append(_text(x, high - 8, seconds(n * step), "soft", "middle"))
    for number, row in enumerate(rows):
        y = _ABOVE + number * row_high
        parts.append(
            _text(left - 10, y + 16, row.name if len(row.name) <= 22 else row.name[:21] + "…", "", "end")
        )
        for span in row.spans:
            x, width = x_of(span.start), max(2.0, x_of(span.end) - x_of(span.start))
            parts.append(
                f'<rect class="span {span.level}" x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="16" rx="2">'
                f"<title>{escape(row.name)}: {escape(span.words)}</title></rect>"
            )
            if width > _LETTER * (len(span.words) + 1):
                parts.append(_text(x + width / 2, y + 16, span.words, f"on {span.level}", "middle"))
    if now is not None:
        parts.append(
            f'<path class="line limit" stroke-dasharray="3 3" d="M{x_of(now):.1f} {_ABOVE}V{high - 24}"/>'
        )
    return _chart(title, _WIDE, high, parts)


def bar(used: float, most: float) -> Markup:
    """A small bar of how much of `most` is used, for a cell beside the figures; it warns from four fifths on."""
    share = 1.0 if most <= 0 else min(max(used / most, 0.0), 1.0)
    return _bar("over" if share >= 1 else "near" if share >= 0.8 else "", share)


def _bar(level: str, share: float) -> Markup:
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="bar {level}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rest" width="100" height="10"/><rect class="used" width="{100 * share:.1f}" height="10"/></svg>'
    )


def progress(done: float, of: float) -> Markup:
    """A small bar of how far something has come, beside the figures."""
    share = 0.0 if of <= 0 else min(max(done / of, 0.0), 1.0)
    return _bar("", share)


def _chart(title: str, wide: int, high: int, parts: Sequence[str]) -> Markup:
    name = f'aria-label="{escape(title)}"'
    around = f'<div class="wide" role="region" {name} tabindex="0">'
    frame = f'{around}<svg class="chart" viewBox="0 0 {wide} {high}" role="img" {name}>'
    return Markup(frame + "".join(parts) + "</svg></div>")  # noqa: S704 - numbers, and words that `_text` escapes


def _text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _finite(line: Line) -> Line:
    points = [point for point in line.points if all(map(math.isfinite, point))]
    band = [part for part in line.band if all(map(math.isfinite, part))]
    return Line(line.name, points, line.kind, band, line.steps)


def _path(line: Line, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
    first, *rest = line.points
    path = f"M{x_of(first[0]):.1f} {y_of(first[1]):.1f}"
    for x, y in rest:
        path += f"H{x_of(x):.1f}V{y_of(y):.1f}" if line.steps else f"L{x_of(x):.1f} {y_of(y):.1f}"
    return path if rest else path + "h4"


def _apart(ends: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The words from top to bottom, moved down where they would lie on each other."""
    placed: list[tuple[float, str]] = []
    for y, name in sorted(ends):
        placed.append((max(y, placed[-1][0] + _LABEL) if placed else y, name))
    return placed


def _wider(low: float, high: float) -> tuple[float, float]:
    """The range itself, or one of some width where it has none that a float can tell."""
    least = 1e-6 * max(abs(low), abs(high))
    return (low, high) if high - low > least else (low, low + max(1.0, 2 * least))


def _time_step(span: float) -> float:
    """A distance between ticks that people count time by, for three to eight of them."""
    usual = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 43_200, 86_400)
    return next((float(step) for step in usual if span / step <= 8), _step(0, span))


def _step(low: float, high: float) -> float:
    """A round distance between ticks, for three to seven of them."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span))
    return next(power * share for share in (0.2, 0.5, 1.0, 2.0) if span / (power * share) <= 6)
