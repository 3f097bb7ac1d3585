"""Telling that slides are being opened: a first start over many takes as long as it takes."""

from __future__ import annotations

import logging
import math
import time

from client.events import AgentOpening
from privacy.events import tell
from privacy.progress import Tell

_LOG = logging.getLogger("fedpath.agent")
_ALIVE_S = 30.0


def told() -> Tell:
    """So that a first start over many slides shows that it goes on. How many there are is private, and a share of few
    tells: the log has a sign of life by the clock, the details have the numbers.
    """
    last = {"log": -math.inf, "details": -math.inf}

    def tell_of(what: str, done: int = 0, of: int | None = None) -> None:
        now = time.monotonic()
        if now - last["log"] >= _ALIVE_S:
            last["log"] = now
            tell(AgentOpening())
        if now - last["details"] >= _ALIVE_S or done in (0, of):
            last["details"] = now
            _LOG.info("%s: %d of %s", what, done, of)

    return tell_of
