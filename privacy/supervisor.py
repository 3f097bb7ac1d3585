"""Telling systemd that a daemon is ready: `Type=notify` units start what comes after them only then."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def tell_ready() -> None:
    """Say so to whoever asked for it in NOTIFY_SOCKET (sd_notify(3)); nobody did, nothing is said."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.sendto(b"READY=1", address)
