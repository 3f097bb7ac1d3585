"""`serve`: where it may listen, whose host names it answers, and how it begins and ends as a process."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.processes import ROOT
from server.errors import HomeError
from server.page.access.roles import Role
from server.page.reached import reached
from tests.federation.test_rounds import World
from tests.unit.page.conftest import NAMES, PASSWORD

_WAIT_S = 120


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of its own and the key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate, file = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    file.chmod(0o600)
    return certificate, file


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "page.example.org"])
@pytest.mark.parametrize("url", [None, "https://fedpath.example.org"])
def test_beyond_this_machine_there_is_no_page_without_tls(host: str, url: str | None) -> None:
    """Catches passwords and cookies that cross a network in the clear, proxy or not."""
    with pytest.raises(HomeError, match="--tls-certificate"):
        reached(host, url, None, None)


def test_who_is_asked_for_by_which_name(pair: tuple[Path, Path]) -> None:
    """Catches a page that answers to any name, or not to its own; and a cookie that is sent in the clear behind a proxy."""
    plain = reached("127.0.0.1", None, None, None)
    assert plain.names == {"127.0.0.1", "localhost", "[::1]"}
    assert (plain.secure, plain.address(8787)) == (False, "http://127.0.0.1:8787/")
    proxied = reached("127.0.0.1", "https://FedPath.example.org:8443", None, None)
    assert "fedpath.example.org" in proxied.names
    assert (proxied.secure, proxied.tls) == (True, None)
    own = reached("::", None, *pair)
    assert own.secure
    assert own.address(1) == "https://[::]:1/"


@pytest.mark.parametrize(
    "url",
    [
        "http://fedpath.example.org",
        "fedpath.example.org",
        "https://",
        "https://fedpath.example.org/under",
        "https://user:word@fedpath.example.org",
        "https://fedpath.example.org?a=b",
        "https://fedpath.example.org:port",
        "javascript:alert(1)",
    ],
)
def test_a_public_address_is_scheme_and_host(url: str) -> None:
    """Catches an address that is taken in part: the page would answer to another name than was meant."""
    with pytest.raises(HomeError, match="scheme and host alone"):
        reached("127.0.0.1", url, None, None)


def test_a_key_that_is_missing_open_or_anothers_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = pair
    with pytest.raises(HomeError, match="both"):
        reached("127.0.0.1", None, certificate, None)
    with pytest.raises(HomeError, match="no such file"):
        reached("127.0.0.1", None, certificate, tmp_path / "none.pem")
    with pytest.raises(HomeError, match="no certificate in PEM with its key"):
        reached("127.0.0.1", None, key, key)
    key.chmod(0o640)
    with pytest.raises(HomeError, match="chmod 600"):
        reached("127.0.0.1", None, certificate, key)


@contextmanager
def served(here: World, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and the address that it says."""
    command = [sys.executable, "-c", "from server.cli import app; app()", "serve", str(here.home.folder)]
    process = subprocess.Popen(
        [*command, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _WAIT_S)
        found = re.search(r"the page is at (\S+)", process.stdout.readline() if ready else "")
        assert found is not None, process.communicate(timeout=10)[1] if process.poll() is not None else "late"
        yield process, found[1]
    finally:
        process.kill()
        process.wait(30)


def test_it_serves_says_nothing_of_visits_and_ends_when_asked(running_world: World) -> None:
    """Catches a log of who looked at what, and a service that must be killed."""
    with served(running_world) as (process, address):
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                assert httpx.get(address + "live").text == "alive\n"
                break
            except httpx.TransportError:
                assert time.monotonic() < until
        with httpx.Client(base_url=address, follow_redirects=True) as client:
            form = {"name": NAMES[Role.AUDITOR], "password": PASSWORD, "next": "/privacy?secret=7"}
            assert "Epsilon" in client.post("/login", data=form).text
            assert client.get("/", headers={"host": "evil.example"}).status_code == 421
            with client.stream("GET", "/events", headers={"accept": "text/event-stream"}) as stream:
                next(stream.iter_raw())
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
        said = "".join(process.communicate(timeout=10))
    assert '"event": "logged-in"' in said
    for word in ("privacy", "secret", "GET", "evil", "Traceback"):
        assert word not in said


def test_over_tls_it_shows_its_certificate(running_world: World, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key), "--host", "localhost")
    context = ssl.create_default_context(cafile=certificate)
    with served(running_world, *options) as (_, address):
        assert address.startswith("https://localhost:")
        answer = httpx.get(address + "login", verify=context)
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        form = {"name": "cora", "password": PASSWORD, "next": "/"}
        cookie = httpx.post(address + "login", data=form, verify=context).headers["set-cookie"]
        assert cookie.startswith("__Host-fedpath=")


def test_a_port_that_is_taken_is_told(running_world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-c", "from server.cli import app; app()", "serve"]
        done = subprocess.run(
            [*command, str(running_world.home.folder), "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=_WAIT_S,
        )
    assert done.returncode == 2
    assert "name another --port" in done.stderr
    assert "Traceback" not in done.stderr
