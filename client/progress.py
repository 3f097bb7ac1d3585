"""What the agent is doing now, for local IT's eyes: never sent to the courier."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from client.events import Phase
from client.metrics import Figures, coarse
from privacy.codes import Refusal, SecaggFault
from privacy.egress_record import COUNTS, MASKED, RELEASE, EgressRecord

# Of a reply's parts, those that are worth a count: the first step of their names.
_WORDS = {RELEASE.rstrip("/"): "releases", COUNTS: "counts", MASKED: "masked"}


class Progress:
    """A status that one thread writes and another reads. `facts` stand for the agent's whole life."""

    def __init__(self, *, skipped: Mapping[str, str], **facts: Any) -> None:
        self._lock = threading.Lock()
        self._facts = facts
        self._skipped = dict(skipped)
        self._now: dict[str, Any] = {}
        self._releases = self._bytes = 0
        self.epsilon = 0.0
        self._answers: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self.memory_planned: int | None = None
        self.begin(Phase.IDLE)

    def begin(self, phase: Phase, **about: str | int) -> None:
        """Enter a phase."""
        with self._lock:
            if self._now and self._now["phase"] != Phase.IDLE:
                self._seconds[self._now["phase"]] += coarse(time.time() - self._now["since"])
            self._now = {"phase": phase, "since": time.time(), "step": 0, "of": 0, **about}

    def step(self, done: int, of: int) -> None:
        """Step `done` of `of` has ended."""
        with self._lock:
            self._now |= {"step": done, "of": of}

    def skip(self, slide: str, reason: str) -> None:
        """A slide serves no more."""
        with self._lock:
            self._skipped[slide] = reason

    def refused(self, code: Refusal | SecaggFault) -> None:
        """A request was answered by a code."""
        with self._lock:
            self._answers[code] += 1

    def left(self, records: Sequence[EgressRecord]) -> None:
        """Something passed the egress guard."""
        with self._lock:
            self._releases += sum(record.name.startswith(RELEASE) for record in records)
            self._bytes += sum(record.bytes for record in records)
            self._answers.update(
                {_WORDS[name] for record in records if (name := record.name.split("/")[0]) in _WORDS}
            )

    def figures(self, *, up: bool, budget: float, memory: int | None) -> Figures:
        """What of all this monitoring may be told."""
        with self._lock:
            return Figures(
                up=up,
                epsilon=self.epsilon,
                epsilon_budget=budget,
                answers=dict(self._answers),
                bytes_sent=self._bytes,
                seconds=dict(self._seconds),
                memory_planned=self.memory_planned,
                memory=memory,
            )

    def snapshot(self) -> dict[str, Any]:
        """Facts, phase, and sums since the agent's start, as JSON values."""
        with self._lock:
            return {
                **self._facts,
                **self._now,
                "skipped": dict(self._skipped),
                "epsilon": self.epsilon,
                "releases_sent": self._releases,
                "bytes_sent": self._bytes,
            }
