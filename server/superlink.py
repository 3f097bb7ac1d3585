"""The consortium's SuperLink, as Flower ships it: how it is started, and which nodes it knows."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from privacy.enrolment.node_key import to_openssh
from server.errors import SuperLinkError
from server.flower_cli import CONNECTION, FlowerCli, toml
from server.home import Home
from server.provision.authority import CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY
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
        *("--database", str(_database(home))),
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


def unregister_all(home: Home, supernode_keys: Iterable[bytes]) -> None:
    """Have the SuperLink forget the nodes of these keys for good; those that it does not know, or forgot, are let be.

    Raises `SuperLinkError`.
    """
    cli = flower(home)
    for key in supernode_keys:
        node = _node(home, key)
        if node is None:
            continue
        _, said = cli.run("supernode", "unregister", str(node), CONNECTION)
        if "unregistered successfully" not in said:
            raise SuperLinkError(f"node {node} could not be unregistered: {said}")


def _node(home: Home, supernode_key: bytes) -> int | None:
    """The node that the SuperLink knows by this key. Flower's command lists nodes without their keys, its database has
    them.
    """
    query = "SELECT node_id FROM node WHERE public_key = ? AND status != 'unregistered'"
    try:
        with closing(sqlite3.connect(f"{_database(home).as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute(query, (supernode_key,)).fetchone()
    except sqlite3.Error as error:
        raise SuperLinkError(f"{_database(home)}: {error}: start the SuperLink with `start` first") from error
    return None if row is None else int(row[0]) % 2**64


def _database(home: Home) -> Path:
    return home.folder / "flower" / "superlink.db"


def _bind_address(host: str) -> str:
    """Loopback stays loopback; any other host is reached on all of the machine's addresses."""
    try:
        return host if ip_address(host).is_loopback else "0.0.0.0"  # noqa: S104 - hospitals must reach it
    except ValueError:
        return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104
