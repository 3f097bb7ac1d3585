"""The agents that `test_client_resume` kills: forked from this process, which has paid for the imports once.

An agent opens, is asked one plan, and says each step as it ends. It kills itself, SIGKILL, at the n-th time that it
touches a file of the checkpoints (0: never): before a part is written, before it takes the old one's place, before
the folder is made durable, before one is removed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from client.agent import Agent
from client.home import Home
from client.network import Network
from privacy import envelope

TOUCHES = ("open", "os.rename", "os.remove", "os.scandir", "os.listdir")


def life(home: Home, request: bytes, last: int, writer: int) -> None:
    """One agent's life; what it says goes to `writer`, one line each."""

    def say(line: str) -> None:
        os.write(writer, line.encode() + b"\n")

    left = last

    def touched(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in TOUCHES and str(home.checkpoints) in str(arguments[0]):
            left -= 1
            if left == 0:
                say("killed")
                os.kill(os.getpid(), signal.SIGKILL)

    agent = Agent(home, Network(False, "not cut off: a test"))
    sys.addaudithook(touched)
    agent.progress.step = lambda done, of: say(f"step {done}")  # type: ignore[method-assign]
    reply = envelope.unpack(agent.courier_methods["train"](request), 1 << 28)
    say("sent " + " ".join(sorted(reply)))


def main() -> None:
    """Serve requests, one JSON object a line: home, the request's file, last."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            life(Home(Path(asked["home"])), Path(asked["request"]).read_bytes(), asked["last"], writer)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            said = file.read().splitlines()
        os.waitpid(child, 0)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
