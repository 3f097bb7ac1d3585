"""Connections to PostgreSQL that wait for an answer, but not for ever.

A server that hangs (its machine thrashes, its disk is stuck, somebody stopped it) accepts connections and keeps them
open, so neither TCP nor the server's own time limits end a wait: only the client can. What a server that was given up
does with a statement when it wakes is for who gave it up to find out.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sql

ANSWER_SECONDS = 90.0  # longer than the server's own limits, which name what was waited for
_KEPT_ALIVE = {  # of a connection over TCP, whose other end may vanish without a word
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}

_T = TypeVar("_T")
_Steps = Generator[Any, Any, _T]


class AnsweringConnection(psycopg.Connection[Any]):
    """A connection that is closed, with `psycopg.OperationalError`, where the server says nothing for `ANSWER_SECONDS`."""

    def wait(self, gen: _Steps[_T], *how: Any, **named: Any) -> _T:
        """Wait for the server, as psycopg does for each statement."""
        try:
            return super().wait(_answered(gen, ANSWER_SECONDS), *how, **named)
        except _SilentError:
            self.close()
            raise psycopg.OperationalError(
                f"the server took the connection, and has said nothing for {ANSWER_SECONDS:g} s"
            ) from None


class _SilentError(Exception):
    """The server says nothing."""


def _answered(steps: _Steps[_T], seconds: float) -> _Steps[_T]:
    """The same steps, until nothing comes for so long."""
    try:
        wanted = next(steps)
        heard = time.monotonic()
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                raise _SilentError
            wanted = steps.send(ready)
    except StopIteration as end:
        result: _T = end.value
        return result


def listen(engine: sql.Engine) -> None:
    """Have the engine's connections be such."""

    def connect(dialect: object, record: object, arguments: Any, named: dict[str, Any]) -> Any:
        return AnsweringConnection.connect(*arguments, **(_KEPT_ALIVE | named))

    sql.event.listen(engine, "do_connect", connect)
