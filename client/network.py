"""The agent's cut: from here on this process can't reach any network.

A new network namespace holds no interface but a loopback that is down. Unix sockets are files, so the
agent's own socket goes on working. As root the namespace is entered directly, else through a user namespace.
Where neither is allowed, a container or a unit may have cut the network already: then that is said.
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
_REQUEST = struct.Struct("16sh14x")
_OF_A_NAMESPACE = Path("/proc/sys/net/core")  # settings of this process' network namespace
_OF_THE_MACHINE = "netdev_max_backlog"  # one that the kernel shows in the machine's own namespace alone


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
        if _is_cut_already():
            return Network(
                True, "none: started in a network namespace without interfaces, a loopback excepted"
            )
        return Network(
            False,
            f"NOT cut off: this machine allows no network namespace ({error.strerror}); "
            "run the agent under PrivateNetwork=yes or network_mode: none",
        )
    spaces = {os.readlink(task / "ns/net") for task in Path("/proc/self/task").iterdir()}
    if before in spaces:
        return Network(False, "NOT cut off: a thread was running already")
    return Network(True, "none: a network namespace of its own, without interfaces")


def _is_cut_already() -> bool:
    """Whether no interface but a loopback is up, in a namespace that is not the machine's.

    In the machine's own namespace an interface may come up at any time, so its absence proves nothing there. What is
    down counts for nothing: the kernel's fallback tunnels stand in every namespace. False where it can't be told.
    """
    if not _OF_A_NAMESPACE.is_dir() or (_OF_A_NAMESPACE / _OF_THE_MACHINE).exists():
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handle:
            return not any(_flags(handle, name) & _UP for _, name in socket.if_nameindex() if name != "lo")
    except OSError:
        return False


def _flags(handle: socket.socket, name: str) -> int:
    _, flags = _REQUEST.unpack(fcntl.ioctl(handle, _GET_FLAGS, _REQUEST.pack(name.encode(), 0)))
    return int(flags)


def raise_loopback() -> None:
    """Let the processes of this namespace, the agent and its workers, reach each other at 127.0.0.1; nothing else is
    there to be reached.

    Raises OSError where this process may not.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        flags = _flags(handle, "lo")
        if not flags & _UP:
            fcntl.ioctl(handle, _SET_FLAGS, _REQUEST.pack(b"lo", flags | _UP))
