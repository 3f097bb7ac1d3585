"""How often the agent answers: whatever it answers is an entry of its ledger, and whoever asks may be hostile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

AT_ONCE, A_SECOND = 1_000, 0.5  # a round takes some five answers, and minutes


class Pace:
    """A token bucket: in any span of `s` seconds at most `at_once + a_second * s` are allowed.  Thread-safe."""

    def __init__(
        self,
        at_once: int = AT_ONCE,
        a_second: float = A_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once, self._a_second, self._clock = at_once, a_second, clock
        self._left, self._at = float(at_once), clock()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Whether one more is allowed now; it counts if so."""
        with self._lock:
            now = self._clock()
            self._left = min(self._at_once, self._left + (now - self._at) * self._a_second)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
