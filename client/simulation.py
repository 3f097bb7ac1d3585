"""Simulation: the courier's own process holds the agent. For what-if studies; nothing here protects a hospital.

Flower's engine gives each simulated node a number; the run's configuration says which home that is. The
engine may hand a node's next message to another of its processes, so a home is locked for one message at a
time; each process keeps the agents that it has opened.
"""

from __future__ import annotations

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
_OPENED: dict[Path, Agent] = {}


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
        if home.folder not in _OPENED:
            torch.set_num_threads(1)  # several of the engine's processes share the cores
            _OPENED[home.folder] = Agent(home, Network(False, "NOT cut off: simulated"))
        return _OPENED[home.folder].courier_methods[method](request)
