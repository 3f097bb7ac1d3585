"""How long a page's addresses take to answer, in one process: from a request to the last byte, without a network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

from starlette.testclient import TestClient

from bench.command import measuring

AGAIN = 5


def timings(client: TestClient, paths: Iterable[str]) -> dict[str, dict[str, object]]:
    """Of each path: the first answer's milliseconds, the median of those after it, and the answer's size in kB."""
    found: dict[str, dict[str, object]] = {"first": {}, "again": {}, "kB": {}}
    for path in paths:
        measuring(path)
        first, size = _took(client, path)
        found["first"][path], found["kB"][path] = round(first), round(size / 1000)
        found["again"][path] = round(statistics.median(_took(client, path)[0] for _ in range(AGAIN)))
    return found


def _took(client: TestClient, path: str) -> tuple[float, int]:
    begun = time.perf_counter()
    answer = client.get(path)
    answer.raise_for_status()
    return 1000 * (time.perf_counter() - begun), len(answer.content)
