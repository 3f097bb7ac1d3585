"""`fedpath-hospital reach`: whether a courier could do its work from here, asked of real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import check_machine
from client.cli import app
from client.findings import Finding
from client.home import Home
from client.reach import unreached
from client.rpc import serve
from privacy import keys
from privacy.enrolment import node_key
from server.loopback import free_port
from server.provision.authority import CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY, make_authority
from tests.enrolment_cases import kit


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A joined hospital's home, as far as the courier sees it; nothing runs."""
    for name in ("courier", "socket", "trust", "authority/keys"):
        (tmp_path / name).mkdir(parents=True)
    make_authority(tmp_path / "authority", "127.0.0.1", datetime.now(UTC))
    coordinator = keys.generate(tmp_path / "coordinator.key")
    (tmp_path / "trust" / "coordinator.pub").write_bytes(coordinator.public.to_pem())
    joined = Home(tmp_path)
    trust(joined, tmp_path / "authority", f"127.0.0.1:{free_port()}")
    node_key.generate(joined.node_key)
    return joined


def trust(home: Home, authority: Path, superlink: str) -> None:
    """Give the hospital a kit with the authority's certificate."""
    coordinator = keys.load(home.folder / "coordinator.key")
    roots = ((authority / CA_CERTIFICATE).read_text(),)
    made = kit("north", coordinator.public, superlink=superlink, roots=roots)
    (home.trust / "kit.json").write_bytes(made.seal(coordinator))


def trust_another(home: Home) -> None:
    """Give the hospital the certificate of another authority than the SuperLink's."""
    (home.folder / "other" / "keys").mkdir(parents=True)
    make_authority(home.folder / "other", "127.0.0.1", datetime.now(UTC))
    trust(home, home.folder / "other", home.kit.superlink)


@contextmanager
def superlink(home: Home) -> Iterator[None]:
    """Something that speaks TLS where the SuperLink should, with the authority's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = home.folder / "authority"
    context.load_cert_chain(folder / SERVER_CERTIFICATE, folder / SERVER_KEY)
    host, port = home.kit.superlink.split(":")
    with socket.create_server((host, int(port))) as listener:

        def greet() -> None:
            try:
                with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True):
                    pass
            except OSError:
                pass  # the other side did not like it

        thread = threading.Thread(target=greet)
        thread.start()
        yield
        thread.join(30)


@contextmanager
def agent(home: Home, asked: list[str]) -> Iterator[None]:
    """Something that serves where the agent should; `asked` has what it was asked."""

    def describe(request: bytes) -> bytes:
        asked.append("describe")
        return b""

    server = serve(home.socket, {"describe": describe})
    try:
        yield
    finally:
        server.stop(None).wait()


def test_what_runs_is_reached_and_asked_nothing(home: Home) -> None:
    """Catches a health check that fills the ledger's log of what left, a line a minute."""
    asked: list[str] = []
    with agent(home, asked), superlink(home):
        assert unreached(home) == []
    assert asked == []


def test_what_is_missing_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a closed firewall or a dead agent that passes for health."""
    monkeypatch.setattr("client.reach._SECONDS", 1.0)
    done = CliRunner().invoke(app, ["reach", str(home.folder)])
    assert done.exit_code == 1
    assert "no agent answers" in done.output
    assert "through the firewall" in done.output


def test_a_node_key_that_can_not_serve_is_named(home: Home) -> None:
    """Catches a courier that is healthy and can never start: only its user can look at its key."""
    home.node_key.unlink()
    with agent(home, []), superlink(home):
        (missing,) = unreached(home)
    assert "supernode.key" in missing


def test_another_authoritys_certificate_is_named(home: Home) -> None:
    """Catches a hospital whose proxy opens TLS, and who looks for the fault everywhere else."""
    trust_another(home)
    with agent(home, []), superlink(home):
        (missing,) = unreached(home)
    assert "not the consortium's certificate" in missing


def test_check_calls_only_an_impostor_grave(home: Home) -> None:
    """Catches a check that passes another's certificate, and one that keeps a hospital out because the SuperLink is down."""
    (down,) = check_machine.superlink(home)
    assert "not reached from here" in down.what
    assert not down.grave
    with superlink(home):
        (up,) = check_machine.superlink(home)
    assert up == Finding("superlink", f"{home.kit.superlink} has the consortium's certificate")
    trust_another(home)
    with superlink(home):
        (other,) = check_machine.superlink(home)
    assert other.grave
    assert "not the consortium's certificate" in other.what
