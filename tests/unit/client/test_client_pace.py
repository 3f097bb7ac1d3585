"""How often an agent answers, however often it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.pace import Pace
from client.rpc import AgentUnreachableError, call, serve


@given(waits=st.lists(st.floats(0, 30), max_size=200), at_once=st.integers(1, 20), a_second=st.floats(0, 2))
def test_no_span_of_time_holds_more_than_is_allowed(
    waits: list[float], at_once: int, a_second: float
) -> None:
    """Catches a bucket that fills over its brim, or gives twice what it holds."""
    now = [0.0]
    pace = Pace(at_once, a_second, lambda: now[0])
    allowed: list[float] = []
    for wait in waits:
        now[0] += wait
        if pace.allows():
            allowed.append(now[0])
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            span = allowed[last] - allowed[first]
            assert last - first + 1 <= at_once + a_second * span + 1e-6


def test_who_keeps_the_pace_is_never_turned_away() -> None:
    """Catches a bucket that leaks: a campaign of years would end in it."""
    now = [0.0]
    pace = Pace(3, 0.5, lambda: now[0])
    for _ in range(10_000):
        assert pace.allows()
        now[0] += 2.0


def test_what_is_asked_too_often_never_comes_to_the_agent(tmp_path: Path) -> None:
    """Catches a flood of which each question is an entry of the ledger."""
    came: list[bytes] = []

    def answer(request: bytes) -> bytes:
        came.append(request)
        return b"code"

    server = serve(tmp_path / "agent.sock", {"describe": answer}, Pace(3, 0.0).allows)
    for _ in range(3):
        assert call(tmp_path / "agent.sock", "describe", b"") == b"code"
    for _ in range(20):
        with pytest.raises(AgentUnreachableError, match="resource_exhausted"):
            call(tmp_path / "agent.sock", "describe", b"")
    assert len(came) == 3
    server.stop(0).wait()
