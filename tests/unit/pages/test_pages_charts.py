"""Charts: geometry that holds for any values, words that stay words, and nothing that a page's policy would refuse."""

from __future__ import annotations

import itertools
import math
import re
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.charts import Line, Row, Span, bar, line_chart, timeline
from pages.templates import ago, seconds, short, size, templates, when

_HOSTILE = "<script>alert(1)</script>\"&'\x1b[31m"
_values = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.tuples(_values, _values), max_size=20), st.booleans())
def test_a_line_chart_of_any_values_is_well_formed_and_finite(
    points: list[tuple[float, float]], steps: bool
) -> None:
    """Catches a division by nothing, a NaN as a coordinate, a tick loop without an end."""
    drawn = line_chart("t", [Line("one", points, steps=steps)], "round", "epsilon", None)
    if drawn:
        ElementTree.fromstring(drawn)
        assert not re.search(r"\b(nan|inf)\b", re.sub(r">[^<]*<", "><", drawn))
    else:
        assert not any(math.isfinite(x) and math.isfinite(y) for x, y in points)


def test_words_of_others_are_escaped_and_nothing_is_a_style() -> None:
    """Catches a hospital's name that is markup, and an attribute that the policy forbids (the chart would be bare)."""
    drawn = [
        line_chart(
            _HOSTILE, [Line(_HOSTILE, [(0, 1), (1, 2)], band=[(0, 0, 2), (1, 1, 3)])], _HOSTILE, _HOSTILE
        ),
        timeline(_HOSTILE, [Row(_HOSTILE, [Span(0, 1, "busy", _HOSTILE)])], now=2, expected=5),
        bar(3, 0),
    ]
    for chart in drawn:
        ElementTree.fromstring(chart)
        assert "<script" not in chart
        assert "\x1b" not in chart
        assert "style=" not in chart


@pytest.mark.parametrize(("expected", "shown"), [(100.0, True), (51.0, False), (None, True)])
def test_the_words_over_two_marks_do_not_lie_on_each_other(expected: float | None, shown: bool) -> None:
    drawn = timeline("t", [Row("north", [Span(0, 50, "busy", "at work")])], now=50, expected=expected)
    assert (">now<" in drawn) == shown
    assert (">usual end<" in drawn) == (expected is not None)


@pytest.mark.parametrize(
    ("used", "warns", "level"), [(7, True, ""), (8, True, "near"), (10, True, "over"), (10, False, "")]
)
def test_a_bar_warns_where_it_is_no_good_to_be_full(used: float, warns: bool, level: str) -> None:
    assert f'class="bar {level}"' in bar(used, 10, warns=warns)


def test_names_at_the_ends_do_not_lie_on_each_other() -> None:
    """Catches the labels of two lines that end in the same place."""
    drawn = line_chart("t", [Line(f"line {n}", [(0, 0), (1, 1)]) for n in range(4)], "x", "y")
    ends = [float(y) for y in re.findall(r'y="([0-9.]+)" text-anchor="start">line', drawn)]
    assert len(ends) == 4
    assert min(b - a for a, b in itertools.pairwise(ends)) >= 12


def test_a_value_steps_at_its_round_and_not_before() -> None:
    drawn = line_chart("t", [Line("one", [(0, 0), (1, 1)], steps=True)], "x", "y")
    path = re.search(r'class="line line" d="([^"]+)"', drawn)
    assert path
    assert re.fullmatch(r"M[\d.]+ [\d.]+H[\d.]+V[\d.]+", path[1])


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.2, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h"), (-5, "0 s")],  # noqa: RUF001
)
def test_durations(value: float | None, words: str) -> None:
    assert seconds(value) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (999_600, "1 MB"), (361_000, "361 kB"), (5e15, "5e+03 TB")],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


def test_times_and_hashes() -> None:
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert when("2026-03-01T12:00:00+02:00") == "01 Mar 2026, 10:00 UTC"
    assert ago("2026-03-01T11:00:00+00:00", now) == "1 h ago"
    assert ago("2026-03-01T13:00:00+00:00", now) == "just now"
    assert short("0123456789abcdef") == "0123456789ab"


def test_a_template_misses_nothing_silently() -> None:
    """Catches a page with a gap where a figure should stand, and a value that is taken for markup."""
    environment = templates("pages")
    badge = environment.from_string('{% import "parts.html" as parts %}{{ parts.badge("fine", words) }}')
    assert "&lt;b&gt;" in badge.render(words="<b>")
    with pytest.raises(Exception, match="undefined"):
        badge.render()
