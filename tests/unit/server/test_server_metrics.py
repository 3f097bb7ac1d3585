"""The consortium as monitoring sees it: what the figures are, what they are not, and who can hang the port they have."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privacy.exposition import as_values
from server import metrics, monitor
from server.campaign import Train, plan_for
from server.cli import app
from server.errors import SuperLinkError
from server.home import Home
from server.loopback import accepts, free_port
from server.monitor import Monitor
from server.store import Store
from strategies.intake import Verdict
from tests.federation.simulator import initial
from tests.unit.server.test_server_store import CAMPAIGN, STAGE, TRAINED

# The whole of what the consortium's monitoring is told.
TOLD = {
    "fedpath_superlink_up",
    "fedpath_database_up",
    "fedpath_campaign_state",
    "fedpath_campaign_alive",
    "fedpath_rounds_planned",
    "fedpath_rounds_committed_total",
    "fedpath_round_seconds_total",
    "fedpath_round_open_seconds",
    "fedpath_hospital_last_answer_timestamp_seconds",
    "fedpath_received_bytes_total",
    "fedpath_refused_total",
    "fedpath_days_left",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "consortium", "127.0.0.1", free_port())


@pytest.fixture
def store(home: Home) -> Store:
    """One round is committed, with a refused release, a silent hospital and a hostile word; one is open."""
    store = home.store()
    store.begin(CAMPAIGN, initial(), "1")
    first = store.open_round(plan_for(CAMPAIGN, Train(1, 1, STAGE), store.states("spring")))
    store.asked(first, ["north", "south", "coast"])
    store.answered(first, "north", "releases", 4000)
    store.answered(first, "south", 'x"} 1\nfedpath_superlink_up 7', 40)
    verdicts = [
        Verdict("north", "scale/roi", None, "ab" * 32, 10, 0.1),
        Verdict("south", "scale/roi", "bad-signature", "ac" * 32, 10, None),
        Verdict("south", None, 'x"} 1\nfedpath_superlink_up 7', "", 0),
        Verdict("coast", None, "no-answer", "", 0),
    ]
    seconds = {"gather": 1.0, "wait": 2.5, "aggregate": 0.5}
    store.commit_round(first, TRAINED, verdicts, {}, seconds, keep_releases=False)
    store.open_round(plan_for(CAMPAIGN, Train(2, 2, STAGE), store.states("spring")))
    return store


def figures(home: Home, store: Store, now: datetime) -> dict[tuple[str, ...], float]:
    values = as_values(metrics.text(home, store, now).decode())
    return {
        (str(v["name"]).removeprefix("fedpath_"), *dict(v["labels"]).values()): v["value"]  # type: ignore[call-overload, misc]
        for v in values
    }


def test_the_figures_say_where_a_campaign_stands(home: Home, store: Store) -> None:
    """Catches a stuck round, a silent hospital, refused releases or an ending certificate that monitoring never sees."""
    now = datetime.now(UTC) + timedelta(minutes=10)
    seen = figures(home, store, now)
    assert seen["superlink_up",] == 0
    assert (seen["campaign_state", "spring", "running"], seen["campaign_state", "spring", "failed"]) == (1, 0)
    assert seen["campaign_alive", "spring"] == 0
    assert (seen["rounds_committed_total", "spring"], seen["rounds_planned", "spring"]) == (1, 3)
    assert seen["round_seconds_total", "spring", "wait"] == 2.5
    assert 595 <= seen["round_open_seconds", "spring"] <= 660
    assert abs(seen["hospital_last_answer_timestamp_seconds", "north"] + 600 - now.timestamp()) < 60
    assert ("hospital_last_answer_timestamp_seconds", "coast") not in seen
    assert seen["received_bytes_total", "north"] == 4000
    assert seen["refused_total", "bad-signature", "south"] == 1
    assert seen["refused_total", "other", "south"] == 1
    assert seen["refused_total", "no-answer", "coast"] == 1
    assert seen["days_left", "server certificate"] > 0
    assert seen["days_left", "root 1"] > 0


def test_the_figures_are_these_and_no_others(home: Home, store: Store) -> None:
    """Catches a figure that somebody added: a hospital's score or count would look as harmless."""
    values = as_values(metrics.text(home, store, datetime.now(UTC)).decode())
    assert {str(value["name"]) for value in values} == TOLD
    assert not any(re.search("patient|slide|sample|loss|score", str(value)) for value in values)


def test_the_command_prints_what_the_port_serves(home: Home, store: Store) -> None:
    """Catches a command that fails without a SuperLink, and JSON that is none."""
    printed = CliRunner().invoke(app, ["metrics", str(home.folder)])
    assert printed.exit_code == 0, printed.output
    assert 'fedpath_rounds_committed_total{campaign="spring"} 1.0' in printed.output.splitlines()
    told = json.loads(CliRunner().invoke(app, ["metrics", str(home.folder), "--json"]).output)
    assert {"name": "fedpath_superlink_up", "labels": {}, "value": 0.0} in told["metrics"]


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_port_answers_metrics_liveness_and_readiness_on_loopback_alone(home: Home) -> None:
    """Catches a SuperLink that has gone and stays ready, and figures for the whole network."""
    ready = [True]
    port = Monitor(0, lambda: b"fedpath_superlink_up 1\n", lambda: ready[0]).port
    assert get(port, "/metrics") == (200, b"fedpath_superlink_up 1\n")
    assert get(port, "/live") == (200, b"live\n")
    assert get(port, "/ready") == (200, b"ready\n")
    ready[0] = False
    assert get(port, "/ready") == (503, b"not ready\n")
    assert get(port, "/../consortium.toml")[0] == 404
    for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)}:
        if not str(address).startswith("127."):
            with socket.socket() as probe:
                assert probe.connect_ex((str(address), port)) != 0
    with pytest.raises(SuperLinkError, match="name another"):
        Monitor(port, bytes, bool)


def test_nonsense_and_slow_talkers_cost_the_port_a_moment(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Catches a request that ends the port, hangs it for good, or writes into the log; and a failing figure that does."""
    monkeypatch.setattr(monitor, "_SECONDS", 0.2)
    asked = iter([RuntimeError("DOE-1")])

    def text() -> bytes:
        for error in asked:
            raise error
        return b"good\n"

    port = Monitor(0, text, lambda: True).port
    nonsense = [
        b"\x16\x03\x01" + b"\0" * 500,
        b"GET /" + b"a" * 100_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\xff" * 70_000,
    ]
    with ExitStack() as open_ones:
        for _ in range(10):  # they say nothing
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port)))
        for data in nonsense:
            with socket.create_connection(("127.0.0.1", port)) as hostile:
                hostile.settimeout(30)
                try:
                    hostile.sendall(data + b"\r\n\r\n")
                    hostile.recv(100)
                except OSError:
                    pass  # shut in our face
        with pytest.raises(OSError):  # noqa: PT011 - the figures failed: a closed connection, whichever way it shows
            get(port, "/metrics")
        assert get(port, "/metrics") == (200, b"good\n")
    assert accepts(port)
    assert "DOE" not in "".join(capfd.readouterr())
