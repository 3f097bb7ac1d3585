"""The SuperLink's one port, as `start` opens it: TLS by real OpenSSL, hostile bytes, and who has no node key."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import ssl
import subprocess
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from client.courier import _command, _environment
from client.home import Home as Hospital
from client.home import Settings, create
from demo.enrol import enrol
from demo.processes import Child, Processes, start_superlink, wait_until
from privacy.enrolment import node_key
from server.home import Home
from server.loopback import free_port
from server.provision.authority import CA_CERTIFICATE
from server.reach import require_superlink
from tests.hostile_bytes import PREFACE, left_open, payloads, pour
from tests.process_tree import each

pytestmark = pytest.mark.e2e

_GROWTH = 256 << 20  # bytes of memory: the SuperLink's own caches warm up in it


@dataclass
class Link:
    """A SuperLink that runs, and a hospital that is enrolled."""

    home: Home
    north: Hospital
    child: Child
    folder: Path

    @property
    def memory(self) -> int:
        found = each(self.child.process.pid, psutil.Process.memory_info)
        return sum(memory.rss for _, memory in found)

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.home.folder / CA_CERTIFICATE)

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.home.port), 30)

    def tls(self) -> socket.socket:
        return self.trust.wrap_socket(self.plain(), server_hostname="127.0.0.1")

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> int:
        """The status that a request is answered with."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.home.port}{path}",
            data=body,
            headers={"Content-Type": kind, "Accept": kind},
        )
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=30) as answer:
                answer.read(1 << 20)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def routes(self) -> list[str]:
        """Every path that the port serves, by its own description."""
        url = f"https://127.0.0.1:{self.home.port}/openapi.json"
        with urllib.request.urlopen(url, context=self.trust, timeout=30) as answer:
            return list(json.load(answer)["paths"])

    def node(self) -> str | None:
        """North's node, as the SuperLink has it."""
        path = self.home.folder / "flower" / "superlink.db"
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as database:
            row = database.execute("SELECT status FROM node WHERE name = 'north'").fetchone()
        return None if row is None else str(row[0])


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    folder = tmp_path_factory.mktemp("ports")
    home = Home.create(folder / "consortium", "rhine", "127.0.0.1", free_port())
    north = create(folder / "north", Settings("north", folder, folder / "m.csv", folder))
    enrol(home, north)
    with Processes(folder / "logs") as processes:
        child = start_superlink(processes, home.folder, home.port)
        made = Link(home, north, child, folder)
        wait_until(lambda: made.node() is not None, child, 120)
        yield made


def s_client(link: Link, *options: str) -> tuple[int, str]:
    """OpenSSL's own client: its status, and what it said."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{link.home.port}", "-verify_ip", "127.0.0.1"]
    trusted = ["-CAfile", str(link.home.folder / CA_CERTIFICATE), "-verify_return_error"]
    done = subprocess.run([*command, *trusted, *options], input=b"", capture_output=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_verifies_the_chain_with_the_homes_authority(link: Link, version: str) -> None:
    """Catches a certificate that only Python takes, and one for another name."""
    status, said = s_client(link, version)
    assert status == 0, said
    assert "Verify return code: 0 (ok)" in said or "Verification: OK" in said
    status, _ = s_client(link, version, "-verify_ip", "127.0.0.2")
    assert status != 0


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        *(
            ("-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0")
            for weak in ("aNULL", "eNULL", "kRSA", "SHA1", "CAMELLIA", "PSK")
        ),
    ],
    ids=" ".join,
)
def test_old_versions_and_weak_ciphers_are_refused(link: Link, options: tuple[str, ...]) -> None:
    """Catches a port that lets itself be talked down: OpenSSL offers it here, with its own level of security off."""
    status, said = s_client(link, *options)
    assert status != 0, said
    assert "Cipher is (NONE)" in said, "OpenSSL could not even offer it: nothing was tried"


def test_who_knows_no_tls_or_another_authority_gets_nowhere(link: Link, tmp_path: Path) -> None:
    """Catches a port that answers in the clear, and a client that would take anybody's SuperLink."""
    with link.plain() as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(30)
        assert not plain.recv(100).startswith(b"HTTP/")
    other = Home.create(tmp_path / "other", "elbe", "127.0.0.1", link.home.port)
    with pytest.raises(Exception, match="has not this home's certificate"):
        require_superlink(other)


def test_it_listens_on_one_port(link: Link) -> None:
    """Catches a further door that a newer Flower opens: SECURITY.md speaks of one."""
    found = each(link.child.process.pid, psutil.Process.net_connections)
    listening = [one for _, those in found for one in those if one.status == psutil.CONN_LISTEN]
    ports = {one.laddr.port for one in listening}
    assert ports == {link.home.port}


def supernode(link: Link, key: Path) -> subprocess.Popen[bytes]:
    """As a courier starts it, unconfined, with this node key."""
    command = _command(link.north, link.north.kit.superlink)
    command[command.index(str(link.north.node_key))] = str(key)
    log = (link.folder / f"node-{key.stem}.log").open("ab")
    return subprocess.Popen(command, env=_environment(link.north), stdout=log, stderr=log)


def is_served(link: Link) -> None:
    """Fails unless a proper node gets in."""
    with sqlite3.connect(link.home.folder / "flower" / "superlink.db", timeout=30) as database:
        database.execute("UPDATE node SET status = 'offline', online_until = 0 WHERE name = 'north'")
    node = supernode(link, link.north.node_key)
    try:
        wait_until(lambda: link.node() == "online", link.child, 120)
    finally:
        node.terminate()
        node.wait(60)


def test_a_client_without_an_enrolled_node_key_gets_nowhere(link: Link, tmp_path: Path) -> None:
    """Catches a fleet interface that a stranger over TLS may use: with no key, and with one that nobody enrolled."""
    for path in [path for path in link.routes() if "/fleet/" in path]:
        for body in (b"{}", b"", random.Random(path).randbytes(200)):
            for kind in ("application/json", "application/protobuf"):
                assert link.ask(path, body, kind) in range(400, 500), path
    node_key.generate(tmp_path / "stranger.key")
    stranger = supernode(link, tmp_path / "stranger.key")
    try:
        assert stranger.wait(120) != 0
    finally:
        stranger.kill()
    is_served(link)


def storm(link: Link, seed: int, count: int) -> dict[str, set[int]]:
    """Hostile bytes before TLS, in it, and to every route; the statuses that the routes answered with."""
    for data in payloads(seed, count):
        pour(link.plain, data)
        pour(link.tls, data)
    draw = random.Random(seed)
    statuses: dict[str, set[int]] = defaultdict(set)
    streams = ("stream-logs", "stream-run-events")  # they answer for as long as they are asked
    for path in link.routes():
        if path.endswith(streams):
            continue
        for _ in range(count):
            for body in (draw.randbytes(draw.randrange(3000)), b"\x0a\xff\xff\xff\xff\x0f", b"", b"\x08\x01"):
                for kind in ("application/json", "application/protobuf"):
                    statuses[path].add(link.ask(path, body, kind))
    return statuses


def bears(link: Link, seed: int, count: int, held: int) -> None:
    before, process = link.memory, link.child.process
    beginnings: list[bytes] = [b"", b"\x16\x03\x01", PREFACE, b"\x16"] * (held // 4)
    slow = [
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST /health HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    ] * (held // 4)
    with left_open(link.plain, beginnings), left_open(link.tls, slow):
        assert link.ask("/health") == 200, "slow talkers keep others out"
        statuses = storm(link, seed, count)
        assert link.ask("/health") == 200
    assert process.poll() is None, link.child.tail()
    assert 200 in statuses["/v1/control/list-nodes"], "nothing came as far as a handler"
    assert statuses["/v1/fleet/push-messages"] == {400, 401, 415}
    # Flower answers some of its control routes with 500: the request failed, and nothing else.
    failed = {path for path, found in statuses.items() if 500 in found}
    assert all(path.startswith("/v1/control/") for path in failed), failed
    assert link.memory - before < _GROWTH
    require_superlink(link.home)
    is_served(link)


def test_hostile_bytes_end_neither_the_superlink_nor_its_service(link: Link) -> None:
    """Catches a request that ends the SuperLink, fills its memory or keeps a hospital's node out."""
    bears(link, seed=1, count=1, held=40)


@pytest.mark.nightly
def test_a_night_of_hostile_bytes(link: Link) -> None:
    """Catches what comes of more of them: memory that grows a little each time, and connections that are never let go."""
    bears(link, seed=2, count=5, held=400)
