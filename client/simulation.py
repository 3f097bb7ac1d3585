"""Simulation: the courier's own process holds the agent. For what-if studies; nothing here protects a hospital.

Flower's engine gives each simulated node a number; the run's configuration says which home that is. The
engine may hand a node's next message to another of its processes, so a home is locked for one message at a
time. Each process keeps the agents that it has opened last, and no more of them than `AGENTS`: each has a base of its own.
"""

from __future__ import annotations

import gc
import os
from functools import partial
from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.agent import Agent
from client.app import reply
from client.home import Home
from client.network import Network

app = ClientApp()
AGENTS = 4  # open at once in a process
_OPENED: dict[Path, Agent] = {}  # the one that was asked last comes last


@app.train()
@app.evaluate()
@app.query()
def carry(message: Message, context: Context) -> Message:
    """Hand the message to the agent of this node's hospital."""
    folders = str(context.run_config["hospitals"]).split(os.pathsep)
    home = Home(Path(folders[int(str(context.node_config["partition-id"]))]))
    return reply(message, partial(_call, home))


def _call(home: Home, method: str, request: bytes) -> bytes:
    with home.only_agent():  # raises where the round before, past its deadline, is still trained
        return _opened(home).courier_methods[method](request)


def _opened(home: Home) -> Agent:
    agent = _OPENED.pop(home.folder, None)
    if agent is None:
        torch.set_num_threads(1)  # several of the engine's processes share the cores
        while len(_OPENED) >= AGENTS:
            del _OPENED[next(iter(_OPENED))]
            gc.collect()  # a model's modules know one another
        agent = Agent(home, Network(False, "NOT cut off: simulated"))
    _OPENED[home.folder] = agent
    return agent
