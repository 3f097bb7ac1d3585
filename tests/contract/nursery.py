"""A process from which those are forked that a test kills: it has paid for the imports once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Ask = Callable[[Mapping[str, object]], list[str]]


@contextmanager
def nursery(module: str) -> Iterator[Ask]:
    """Run `module`, and ask it for one life at a time: an object that says which; what that life said."""
    process = subprocess.Popen(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(which: Mapping[str, object]) -> list[str]:
        print(json.dumps(which), file=stdin, flush=True)
        said: list[str] = json.loads(stdout.readline())
        return said

    yield ask
    stdin.close()
    stdout.close()
    process.wait()
