"""A hospital's figures for its own monitoring: what the coordinator may know, and the state of the machine.

Monitoring is read by more people than the agent's home, so it has no number of patients, slides, samples or draws, no
loss, and nothing whose course tells of them (docs/adr/0036). Time is in steps of `COARSE_S` and over whole requests, as
the coordinator sees it anyway; free disk is in whole GiB, for the cache grows with who is drawn for the first time; a
device's memory is what it has and what the plan may need at most, never what is in use.
"""

from __future__ import annotations

import logging
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.metrics_core import Metric

from client.home import Home
from privacy import exposition
from privacy.errors import PrivacyError
from privacy.exposition import Values, counter, gauge

EVERY_S = 15.0  # by the clock, whatever the agent does
COARSE_S = 10.0
_GIB = 1 << 30
_LOG = logging.getLogger("fedpath.agent")


@dataclass(frozen=True)
class Figures:
    """All that a hospital's monitoring is told. Sums are since the agent's start.

    answers: by "releases", "counts", "masked", or the code that was answered; seconds: by phase.
    """

    up: bool
    epsilon: float
    epsilon_budget: float
    answers: Mapping[str, int]
    bytes_sent: int
    seconds: Mapping[str, float]
    memory_planned: int | None
    memory: int | None


def coarse(seconds: float) -> float:
    """`seconds`, up to the next `COARSE_S`."""
    return math.ceil(seconds / COARSE_S) * COARSE_S


def text(figures: Figures, home: Home, now: datetime) -> bytes:
    """The figures, and what is read from the home and its disk, in Prometheus' form."""
    return exposition.exposition(list(_families(figures, home, now)))


def _families(figures: Figures, home: Home, now: datetime) -> Iterator[Metric]:
    left = max(figures.epsilon_budget - figures.epsilon, 0.0)
    yield gauge("agent_up", "1 where the agent serves; written by the agent itself", float(figures.up))
    yield gauge(
        "written_timestamp_seconds", "when this was written: old figures are a dead agent's", now.timestamp()
    )
    yield gauge("epsilon_spent", "of all that was released or reserved", figures.epsilon)
    yield gauge("epsilon_left", "of the policy's budget", left)
    answers: Values = {(word,): float(count) for word, count in figures.answers.items()}
    yield counter(
        "answers", "requests answered, by releases, counts, a masked sum, or a code", answers, "answer"
    )
    yield counter("sent_bytes", "that passed the egress guard", {(): float(figures.bytes_sent)})
    seconds: Values = {(phase,): value for phase, value in figures.seconds.items()}
    yield counter("work_seconds", f"of whole requests, each up to the next {COARSE_S:g} s", seconds, "phase")
    yield gauge(
        "disk_free_bytes",
        "where the home lies, in whole GiB",
        shutil.disk_usage(home.folder).free // _GIB * _GIB,
    )
    if days := _days_left(home, now):
        yield gauge("days_left", "until the kit, or a root certificate in it, expires", days, "what")
    if figures.memory is not None:
        yield gauge("gpu_memory_bytes", "that the first GPU has", figures.memory)
    if figures.memory_planned is not None:
        yield gauge("memory_planned_bytes", "that the last plan may need at most", figures.memory_planned)


def _days_left(home: Home, now: datetime) -> Values:
    try:
        kit, *roots = home.kit.expiries(now)
    except PrivacyError:  # `check` and `status` say what is wrong with it
        return {}
    return {("kit",): kit.days, **{(f"root {number}",): root.days for number, root in enumerate(roots, 1)}}


def keep_written(home: Home, figures: Callable[[bool], bytes], ended: threading.Event) -> threading.Thread:
    """Write `figures(up)` to the home's file every `EVERY_S` seconds, and once more, as not up, when the agent has ended.

    What can't be written is noted among the details, and tried again.
    """
    home.metrics.parent.mkdir(mode=0o700, exist_ok=True)

    def work() -> None:
        while True:
            over = ended.is_set()
            try:
                exposition.write(home.metrics, figures(not over))
            except Exception:
                _LOG.exception("figures can't be written to %s", home.metrics)
            if over:
                return
            ended.wait(EVERY_S)

    thread = threading.Thread(target=work, name="metrics", daemon=True)
    thread.start()
    return thread
