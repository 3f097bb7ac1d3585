"""The agent's workers, one for each further GPU: started with it, and ended with it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from client.errors import HomeError
from client.home import Home
from client.network import raise_loopback
from client.training.distributed import Team, joined


@contextmanager
def team_of(home: Home, size: int, ended: Callable[[], None]) -> Iterator[Team | None]:
    """Start the other processes of a team of `size` and lead it; None where this process is all of it.

    `ended` is called once a worker has gone: the agent can't work on without it, and goes on from the last step's
    checkpoint when it is started again. Raises `HomeError` where the processes can't reach each other.
    """
    if size == 1:
        yield None
        return
    try:
        raise_loopback()
    except OSError as error:
        raise HomeError(
            f"{home.folder}: the processes of {size} GPUs need a loopback, and there is none ({error.strerror}): run "
            "the agent as root, or with --gpus 1"
        ) from None
    home.meeting.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "client.worker", str(home.folder)]
    workers = [subprocess.Popen([*command, str(rank), str(size)]) for rank in range(1, size)]

    def watch(worker: subprocess.Popen[bytes]) -> None:
        worker.wait()
        ended()

    for worker in workers:
        threading.Thread(target=watch, args=(worker,), daemon=True).start()
    try:
        with joined(home.meeting, 0, size) as team:
            yield team
    finally:
        for worker in workers:
            worker.kill()
