"""SECURITY.md names tests that are there, and files that are there."""

from __future__ import annotations

import re

import pytest

from demo.processes import ROOT

FILES = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")


def missing(text: str) -> list[str]:
    """The tests and files that a page names in backticks and that are not in the project."""
    lacking = []
    for word in re.findall(r"`([^`\s]+)`", text):
        if re.fullmatch(r"test_\w+\.py", word):
            there = word in FILES
        elif re.match(r"(tests|client|server|privacy|strategies|compose|docs|release)/", word):
            there = (ROOT / word).exists()
        else:
            continue
        if not there:
            lacking.append(word)
    return lacking


def test_every_test_and_file_that_it_names_is_there() -> None:
    """Catches a claim whose test was renamed or removed, and a claim about code that is gone."""
    assert missing(PAGE) == []
    assert len(re.findall(r"`test_\w+\.py`", PAGE)) > 80


@pytest.mark.parametrize("word", ["test_gone.py", "tests/e2e/test_gone.py", "client/gone.py"])
def test_a_name_that_is_not_there_is_found(word: str) -> None:
    """Catches a check that finds nothing."""
    assert missing(f"shown by `{word}`") == [word]


def test_every_row_of_who_and_what_names_a_test() -> None:
    """Catches an actor or a claim that nothing shows."""
    rows = [
        row
        for row in PAGE.splitlines()
        if row.startswith("| ") and not row.startswith(("| who |", "| claim |"))
    ]
    assert len(rows) > 60
    for row in rows:
        assert re.search(r"`test_\w+\.py`|`tests/\w+", row.split(" | ")[-1]), row
