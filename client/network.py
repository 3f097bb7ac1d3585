"""The agent's cut: from here on this process can't reach any network.

A new network namespace holds no interface but a loopback that is down. Unix sockets are files, so the
agent's own socket goes on working. As root the namespace is entered directly, else through a user namespace.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from client.confine import NEWNET, unshare


@dataclass(frozen=True)
class Network:
    """What the cut achieved: `cut` is true only where every thread of the process is in the new namespace."""

    cut: bool
    words: str


def cut_network() -> Network:
    """Leave the machine's network. Call it before any thread is started: threads keep the namespace they
    have.
    """
    before = os.readlink("/proc/self/ns/net")
    try:
        unshare(NEWNET)
    except OSError as error:
        return Network(
            False,
            f"NOT cut off: this machine allows no network namespace ({error.strerror}); "
            "run the agent under PrivateNetwork=yes or network_mode: none",
        )
    spaces = {os.readlink(task / "ns/net") for task in Path("/proc/self/task").iterdir()}
    if before in spaces:
        return Network(False, "NOT cut off: a thread was running already")
    return Network(True, "none: a network namespace of its own, without interfaces")
