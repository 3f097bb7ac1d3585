"""Processes that look at slides for this one, so that a slide that crashes or hangs its decoder costs itself alone."""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from client.errors import ClientError, CrashingSlideError, SlowSlideError

COMMAND = (sys.executable, "-P", "-m", "client.slides.examine")  # -P: never a module of the working folder
FACTS_S = 60.0  # for a slide to open, and its corners and 4 MiB of it to be read
_START_S = 120.0  # for a process to import what it needs, on a machine that is busy
_ATTEMPTS = 2  # the first death may be an accident: memory, an administrator
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # they run beside each other

Job = dict[str, Any]
Answer = dict[str, Any]
T = TypeVar("T")


class ExaminerError(ClientError):
    """A process that looks at slides can't be started; that is no slide's fault."""


class _Ended(Exception):  # noqa: N818 - a signal inside this module
    """The process went away in the midst of a job."""


class Examiners(AbstractContextManager["Examiners"]):
    """At most `most` processes of `command`, started as they are needed; close them, or use a `with` block.

    What is bounded: a process that takes longer than its limit is killed and another takes its place. What is not: one
    that waits in the kernel for a storage that is gone can't be killed; it is left behind, and nobody waits for it.
    """

    def __init__(self, most: int, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._threads = ThreadPoolExecutor(most)  # they live as long as this: a process ends with its thread
        self._all: list[_Examiner] = []
        self._idle: queue.LifoQueue[_Examiner] = queue.LifoQueue()
        self._closed = False

    def answers(self, jobs: Sequence[tuple[T, Job, float]]) -> Iterator[tuple[T, Answer]]:
        """The answer to each job, as they come: what was handed in with it, and `examine.answer`'s object.

        A job is given its limit in seconds. Reasons may also be "slow" and "crashes". Raises ExaminerError.
        """
        asked: dict[Future[Answer], T] = {
            self._threads.submit(self._answer, job, limit): what for what, job, limit in jobs
        }
        for future in as_completed(asked):
            yield asked[future], future.result()

    def close(self) -> None:
        """End all processes, whatever they do."""
        self._closed = True
        for examiner in list(self._all):
            examiner.kill()
        self._threads.shutdown(cancel_futures=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, job: Job, limit: float) -> Answer:
        for _ in range(_ATTEMPTS):
            examiner = self._take()
            try:
                found = examiner.ask(job, limit)
            except TimeoutError:
                examiner.kill()
                return {"reason": SlowSlideError.reason}
            except _Ended:
                examiner.kill()
            else:
                self._idle.put(examiner)
                return found
        return {"reason": CrashingSlideError.reason}

    def _take(self) -> _Examiner:
        while not self._closed:
            try:
                examiner = self._idle.get_nowait()
            except queue.Empty:
                examiner = _Examiner(self._command)
                self._all.append(examiner)
            if examiner.alive:
                return examiner
        raise ExaminerError("the looking at slides was broken off")


class _Examiner:
    """One process and the pipes to it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal is not for it
            env={**os.environ, **_ONE_THREAD},
        )
        try:
            self._line(_START_S)
        except (TimeoutError, _Ended):
            self.kill()
            raise ExaminerError(
                "a process that looks at slides can't be started: what it said stands above this line"
            ) from None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, job: Job, limit: float) -> Answer:
        """The answer. Raises TimeoutError, and `_Ended` where there will be none; then kill it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise _Ended from None
        found: Answer = json.loads(self._line(limit))
        return found

    def _line(self, limit: float) -> bytes:
        assert self._process.stdout is not None
        end, line = time.monotonic() + limit, b""
        try:
            number = self._process.stdout.fileno()
            waiting = select.poll()
            waiting.register(number, select.POLLIN)
            while not line.endswith(b"\n"):
                if not waiting.poll(max(0.0, end - time.monotonic()) * 1000):
                    raise TimeoutError
                part = os.read(number, 1 << 16)
                if not part:
                    raise _Ended
                line += part
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise _Ended from None  # closed by another thread
        return line

    def kill(self) -> None:
        """End it now; wait a moment for the kernel to do so, and no longer."""
        self._process.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            return  # its pipes stay open: another thread may be reading them
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def outlive(path: Path, command: Sequence[str] = COMMAND) -> None:
    """Have a process open the slide before this one does. Raises CrashingSlideError or SlowSlideError where that process
    does not come back; whatever else is wrong with the file, this one may find out by itself.
    """
    with Examiners(1, command) as examiners:
        ((_, answer),) = examiners.answers([(path, {"job": "facts", "path": str(path)}, FACTS_S)])
    for error in (CrashingSlideError, SlowSlideError):
        if answer.get("reason") == error.reason:
            raise error(path.name)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
