"""How Flower's programs are called, and what following a run makes of its end."""

from __future__ import annotations

import socket
import ssl
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server import superlink
from server.cli import app
from server.errors import SuperLinkError
from server.flower_cli import CONNECTION, FlowerCli, checkout, stage, toml
from server.flower_cli import environment as environment_of
from server.follow import follow
from server.home import Home
from server.loopback import free_port
from server.provision.authority import SERVER_CERTIFICATE, SERVER_DAYS, SERVER_KEY, renew_server
from server.reach import require_runner
from server.store import Store
from tests.federation.simulator import initial
from tests.unit.server.test_server_store import CAMPAIGN


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "consortium", "127.0.0.1", 19092)


@pytest.fixture
def store(home: Home) -> Store:
    store = home.store()
    store.begin(CAMPAIGN, initial(), "1")
    return store


def test_the_superlink_asks_nodes_for_their_keys_and_installs_nothing(home: Home) -> None:
    """Without these flags anyone could join, or the bundle could bring packages along."""
    command = superlink.superlink_command(home)
    assert "--enable-supernode-auth" in command
    assert "--disable-runtime-dependency-installation" in command
    assert "--insecure" not in command
    for flag in ("--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile"):
        assert Path(command[command.index(flag) + 1]).is_file()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("10.0.0.5", "0.0.0.0"),
        ("a.example", "0.0.0.0"),
    ],
)
def test_loopback_stays_on_loopback(tmp_path: Path, host: str, address: str) -> None:
    """A demo must not listen to the world; a real consortium must be reached."""
    home = Home.create(tmp_path / "home", "consortium", host, 19092)
    command = superlink.superlink_command(home)
    assert command[command.index("--host") + 1] == address


def test_flower_phones_nobody_and_keeps_to_the_home(home: Home) -> None:
    """Telemetry off, and no file of Flower's outside the home."""
    environment = environment_of(home.folder / "flower")
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert Path(environment["FLWR_HOME"]).is_relative_to(home.folder)


def test_flower_answers_without_colours(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches escapes in what is read as JSON, where a notebook or a CI job asks all programs for colours."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.setenv(name, "1")
    cli = FlowerCli(
        home.folder / "flower" / "cli", toml({"address": f"127.0.0.1:{free_port()}", "insecure": True})
    )
    _, said = cli.run("list", CONNECTION, "--format", "json")
    assert said
    assert "\x1b" not in said


def test_the_app_takes_the_keys_that_a_run_gives_it() -> None:
    """Flower refuses a run configuration with a key that pyproject.toml does not have."""
    values = tomllib.loads((checkout() / "pyproject.toml").read_text("utf-8"))
    assert set(values["tool"]["flwr"]["app"]["config"]) == {"home", "campaign", "evaluate"}


def test_following_tells_each_change_and_ends_with_the_run(home: Home, store: Store) -> None:
    """The command must end when the campaign does, with its failure, and not before."""
    changes: Iterator[object] = iter(
        [lambda: store.doing("spring", "round 1"), lambda: store.failed("spring", "why")]
    )

    def sleep(seconds: float) -> None:
        next(changes)()  # type: ignore[operator]

    seen = [
        (state.state, state.doing, state.failure)
        for state in follow(home, store, superlink.flower(home), "spring", "1", sleep)
    ]
    assert seen == [
        ("running", "starting", None),
        ("running", "round 1", None),
        ("failed", "round 1", "why"),
    ]


def test_another_runs_state_is_not_this_runs(home: Home, store: Store) -> None:
    """Started again after a failure, the command must not end on the failure of before."""
    store.failed("spring", "the last run's")

    def sleep(seconds: float) -> None:
        store.begin(CAMPAIGN, initial(), "2")
        store.finished("spring")

    assert [state.state for state in follow(home, store, superlink.flower(home), "spring", "2", sleep)] == [
        "done"
    ]


def test_a_run_that_died_without_a_word_is_an_error(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed ServerApp leaves "running" behind: the command must not wait for ever."""
    monkeypatch.setattr(FlowerCli, "has_ended", lambda cli, run_id: True)
    monkeypatch.setattr(FlowerCli, "last_words", lambda cli, run_id: "ImportError: no module")
    with pytest.raises(SuperLinkError, match=r"ended without a word.*ImportError"):
        list(follow(home, store, superlink.flower(home), "spring", "1", lambda seconds: None))


def test_a_run_that_lives_is_waited_for(home: Home, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the runner holds its lock, silence is only a long round."""
    monkeypatch.setattr(FlowerCli, "has_ended", lambda cli, run_id: pytest.fail("asked Flower for nothing"))
    seconds = 0.0

    def sleep(more: float) -> None:
        nonlocal seconds
        seconds += more
        if seconds > 100:
            store.finished("spring")

    with home.only_runner("spring"):
        assert [
            state.state for state in follow(home, store, superlink.flower(home), "spring", "1", sleep)
        ] == ["running", "done"]


def test_the_bundle_holds_the_courier_and_the_server_and_no_training_code(tmp_path: Path) -> None:
    """A bundle with more would be slow to make, and would ship what hospitals install themselves."""
    stage(checkout() / "pyproject.toml", tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "client/app.py", "client/rpc.py", "server/app.py", "privacy/plan.py"} <= names
    assert not any(
        name.startswith(("client/model", "client/training", "demo", "tests", ".")) for name in names
    )


def test_reach_tells_a_superlink_that_answers_from_none(tmp_path: Path) -> None:
    """Catches a health check that calls a dead SuperLink well, or one that another program has taken the port of."""
    home = Home.create(tmp_path / "home", "consortium", "127.0.0.1", free_port())
    dead = CliRunner().invoke(app, ["reach", str(home.folder)])
    assert dead.exit_code == 1
    assert "fedpath-consortium start" in dead.output
    with _tls(home, home):
        assert CliRunner().invoke(app, ["reach", str(home.folder)]).exit_code == 0
    other = Home.create(tmp_path / "other", "consortium", "127.0.0.1", home.port)
    with _tls(home, other):
        stranger = CliRunner().invoke(app, ["reach", str(home.folder)])
    assert stranger.exit_code == 1
    assert "has not this home's certificate" in stranger.output


def test_an_expired_certificate_is_named_where_it_is_shown_and_nothing_starts_with_it(
    tmp_path: Path,
) -> None:
    """Catches a SuperLink that starts and lets nobody in, and a `run` that calls it another program."""
    home = Home.create(tmp_path / "home", "consortium", "127.0.0.1", free_port())
    renew_server(home.folder, home.host, datetime.now(UTC) - timedelta(days=SERVER_DAYS, seconds=1))
    with _tls(home, home):
        said = CliRunner().invoke(app, ["reach", str(home.folder)])
    assert said.exit_code == 1
    assert f"fedpath-consortium renew {home.folder}" in said.output
    assert CliRunner().invoke(app, ["start", str(home.folder)]).exit_code == 1
    assert "the SuperLink's certificate expired" in home.details.read_text()
    assert CliRunner().invoke(app, ["renew", str(home.folder)]).exit_code == 0
    with _tls(home, home):
        assert CliRunner().invoke(app, ["reach", str(home.folder)]).exit_code == 0


@contextmanager
def _tls(home: Home, shown: Home) -> Iterator[None]:
    """Something that speaks TLS on the home's port, with the certificate of `shown`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.folder / SERVER_CERTIFICATE, shown.folder / SERVER_KEY)
    with socket.create_server(("127.0.0.1", home.port)) as listener:

        def greet() -> None:
            with (
                suppress(OSError),
                listener.accept()[0] as plain,
                context.wrap_socket(plain, server_side=True),
            ):
                pass

        thread = threading.Thread(target=greet)
        thread.start()
        yield
        thread.join(30)


def test_reach_tells_whether_a_campaign_is_run(home: Home, store: Store) -> None:
    """Catches a runner that was killed and passes for health, and a campaign that is done and does not."""
    with pytest.raises(SuperLinkError, match="nothing runs campaign 'spring'"):
        require_runner(home, store, "spring")
    with home.only_runner("spring"):
        require_runner(home, store, "spring")
    store.finished("spring")
    require_runner(home, store, "spring")
