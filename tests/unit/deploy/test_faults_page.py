"""docs/faults.md names the test of every fault: each of them exists, and no row is without."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
PAGE = (TESTS.parent / "docs" / "faults.md").read_text("utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)


def test_every_test_that_the_page_names_exists() -> None:
    """Catches a promise whose test was renamed or removed."""
    assert len(NAMED) > 20
    for file, function in NAMED:
        (path,) = TESTS.rglob(file)
        assert f"\ndef {function}(" in path.read_text("utf-8"), f"{file} has no {function}"


def test_every_row_has_its_test() -> None:
    """Catches a fault that is told of and shown by nothing. A table without a column of tests is covered by the one above it."""
    tested = False
    for line in PAGE.split("## Not tried")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            tested = False
        elif cells[-1] == "test":
            tested = True
        elif tested and set(line) - set("|-"):
            assert "::" in cells[-1], line
