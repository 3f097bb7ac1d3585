"""The consortium's SuperLink, as Flower ships it: how it is started, and which nodes it knows."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

from server.errors import SuperLinkError
from server.flower_cli import CONNECTION, FlowerCli, toml
from server.home import Home
from server.provision.authority import CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY
from server.provision.kit import to_openssh
from server.records import Hospital

_SIDE_BY_SIDE = 4


def superlink_command(home: Home) -> list[str]:
    """The SuperLink: TLS, authenticated nodes, own database, nothing installed at run time."""
    return [
        str(Path(sys.prefix) / "bin" / "flower-superlink"),
        *("--ssl-certfile", str(home.folder / SERVER_CERTIFICATE)),
        *("--ssl-keyfile", str(home.folder / SERVER_KEY)),
        *("--ssl-ca-certfile", str(home.folder / CA_CERTIFICATE)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
        *("--isolation", "subprocess"),
        *("--database", str(home.folder / "flower" / "superlink.db")),
        *("--host", _bind_address(home.host)),
        *("--port", str(home.port)),
    ]


def flower(home: Home) -> FlowerCli:
    """Flower's commands, bound to this home's SuperLink over TLS on loopback."""
    connection = {
        "address": f"127.0.0.1:{home.port}",
        "root-certificates": str(home.folder / CA_CERTIFICATE),
    }
    return FlowerCli(home.folder / "flower" / "cli", toml(connection))


def register(cli: FlowerCli, hospital: Hospital) -> None:
    """Make a hospital's node known to the SuperLink; again changes nothing. Raises `SuperLinkError`."""
    with tempfile.NamedTemporaryFile(suffix=".pub") as file:
        file.write(to_openssh(hospital.supernode_key))
        file.flush()
        _, said = cli.run("supernode", "register", file.name, CONNECTION, "--name", hospital.name)
    if not any(words in said for words in ("registered successfully", "already in use")):
        raise SuperLinkError(f"{hospital.name}'s node could not be registered: {said}")


def register_all(home: Home, hospitals: Sequence[Hospital]) -> None:
    """`register` each, side by side: starting Flower's command takes seconds."""
    cli = flower(home)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for done in [pool.submit(register, cli, hospital) for hospital in hospitals]:
            done.result()


def _bind_address(host: str) -> str:
    """Loopback stays loopback; any other host is reached on all of the machine's addresses."""
    try:
        return host if ip_address(host).is_loopback else "0.0.0.0"  # noqa: S104 - hospitals must reach it
    except ValueError:
        return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104
