"""An evaluator's metrics are input from outside: well-formed rows or a named error."""

from __future__ import annotations

from typing import Any

import pytest

from privacy import canonical
from server.errors import EvaluationFailed
from server.evaluation import read_rows

ROW: dict[str, Any] = {
    "scale": "roi", "task": "vqa", "metric": "token_f1", "mean": 0.5, "ci95": [0.4, 0.6], "n": 12, "further": False,
}  # fmt: skip


def test_rows_are_read() -> None:
    """An integer mean (1) is as good as a float."""
    beside = {**ROW, "metric": "accuracy of closed", "further": True}
    rows = read_rows(canonical.encode([ROW, {**ROW, "scale": "wsi", "mean": 1}, beside]))
    assert [(row.scale, row.mean, row.low, row.high, row.further) for row in rows] == [
        ("roi", 0.5, 0.4, 0.6, False),
        ("wsi", 1.0, 0.4, 0.6, False),
        ("roi", 0.5, 0.4, 0.6, True),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        {"rows": []},
        [3],
        [{**ROW, "note": "hello"}],
        [{**ROW, "scale": "cell"}],
        [{**ROW, "task": "router"}],
        [{**ROW, "metric": "x" * 100}],
        [{**ROW, "metric": "a\x1b[2J"}],
        [{**ROW, "mean": True}],
        [{**ROW, "mean": "0.5"}],
        [{**ROW, "ci95": [0.4]}],
        [{**ROW, "n": 0}],
        [{**ROW, "n": 1.5}],
        [{**ROW, "further": 1}],
        [ROW, ROW],
        [ROW, {**ROW, "metric": "accuracy"}],
        [{**ROW, "further": True}, {**ROW, "further": True}],
    ],
    ids=str,
)
def test_anything_else_is_refused(rows: Any) -> None:
    """Nothing unforeseen may come into the store, or on a coordinator's terminal."""
    with pytest.raises(EvaluationFailed):
        read_rows(canonical.encode(rows))


def test_bytes_that_are_no_json_are_refused() -> None:
    """The parser's own error must not get through raw."""
    with pytest.raises(EvaluationFailed, match="metrics"):
        read_rows(b"\xff\x00")
