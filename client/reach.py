"""Whether a courier can do its work from where this runs: the agent's door is open, and the SuperLink is the consortium's."""

from __future__ import annotations

import socket
import ssl

from client.home import Home
from client.rpc import listens

_SECONDS = 10.0


def unreached(home: Home) -> list[str]:
    """What can't be reached, each with what to do about it. Raises `HomeError` before `join`."""
    superlink = home.kit.superlink
    host, _, port = superlink.rpartition(":")
    context = ssl.create_default_context(cafile=home.courier / "ca.crt")
    missing = []
    if not listens(home.socket, _SECONDS):
        missing.append(f"{home.socket}: no agent answers there: is it running, and may this user connect?")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            pass
    except ssl.SSLError as error:
        missing.append(
            f"{superlink}: not the consortium's certificate ({error.reason}): does a proxy open the connection?"
        )
    except OSError as error:
        missing.append(
            f"{superlink}: {error.strerror or error}: let one outgoing TCP connection to it through the firewall"
        )
    return missing
