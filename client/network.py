"""The agent's cut: from here on this process can't reach any network.

A new network namespace holds no interface but a loopback that is down. Unix sockets are files, so the
agent's own socket goes on working. As root the namespace is entered directly, else through a user namespace.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from client.confine import NEWNET, unshare

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # of an interface


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


def raise_loopback() -> None:
    """Let the processes of this namespace, the agent and its workers, reach each other at 127.0.0.1; nothing else is
    there to be reached.

    Raises OSError where this process may not.
    """
    request = struct.Struct("16sh14x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        name, flags = request.unpack(fcntl.ioctl(handle, _GET_FLAGS, request.pack(b"lo", 0)))
        if not flags & _UP:
            fcntl.ioctl(handle, _SET_FLAGS, request.pack(name, flags | _UP))
