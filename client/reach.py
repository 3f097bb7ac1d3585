"""Whether a courier can do its work from where this runs: the agent's door is open, and the SuperLink is the consortium's."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from client.home import Home
from client.rpc import listens
from privacy.enrolment import node_key
from privacy.errors import KeyFileError

_SECONDS = 10.0


@dataclass(frozen=True)
class Fault:
    """Why the SuperLink was not reached, and what to do; an `impostor` answered, without the consortium's certificate."""

    what: str
    advice: str
    impostor: bool


def unreached(home: Home) -> list[str]:
    """What can't be reached, or used on the way, each with what to do about it. Raises `HomeError` before `join`."""
    fault = superlink_fault(home)
    missing = []
    try:
        node_key.load(home.node_key)
    except KeyFileError as error:
        missing.append(str(error))
    if not listens(home.socket, _SECONDS):
        missing.append(f"{home.socket}: no agent answers there: is it running, and may this user connect?")
    if fault is not None:
        missing.append(f"{fault.what}: {fault.advice}")
    return missing


def superlink_fault(home: Home) -> Fault | None:
    """Why the consortium's SuperLink does not answer here with its certificate. Nothing is asked of it.

    Raises `HomeError` before `join`.
    """
    kit = home.kit  # not courier/ca.crt: an agent's user can't read it
    superlink = kit.superlink
    host, _, port = superlink.rpartition(":")
    context = ssl.create_default_context(cadata="".join(kit.roots))
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            return None
    except ssl.SSLError as error:
        what = f"{superlink}: not the consortium's certificate ({error.reason})"
        return Fault(what, "does a proxy open the connection?", impostor=True)
    except OSError as error:
        advice = "let one outgoing TCP connection to it through the firewall"
        return Fault(f"{superlink}: {error.strerror or error}", advice, impostor=False)
