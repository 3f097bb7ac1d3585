"""A hospital's agent as seen from outside: its log, metrics and health, with a patient's identifiers planted everywhere."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import metrics
from client.cli import app
from client.home import Home
from client.metrics import Figures, coarse, text
from client.rpc import AgentUnreachableError, call
from client.tasks.manifest_row import COLUMNS
from demo.processes import ROOT
from privacy import envelope
from privacy.codes import Refusal
from privacy.exposition import as_values
from privacy.mechanism import Mechanism
from tests.drawn_tissue import tissue
from tests.planted_slides import PLANTED, WORDS, plant
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]
PATIENTS = ("Erika-Mustermann", "mrn-4711", "mrn-4712", "mrn-4713")
LABELS = ("Is-it-malignant", "planted-answer")
HIDDEN = (*WORDS, "JANE", "1957-03", *PATIENTS, *LABELS)
# The whole of what a hospital's monitoring is told; a name that is not here was decided upon by nobody.
TOLD = {
    "fedpath_agent_up",
    "fedpath_written_timestamp_seconds",
    "fedpath_epsilon_spent",
    "fedpath_epsilon_left",
    "fedpath_answers_total",
    "fedpath_sent_bytes_total",
    "fedpath_work_seconds_total",
    "fedpath_disk_free_bytes",
    "fedpath_days_left",
    "fedpath_gpu_memory_bytes",
    "fedpath_memory_planned_bytes",
}


@pytest.fixture
def place(house: MakeHouse, tmp_path: Path) -> House:
    """A hospital with slides of every vendor, full of identifiers, in a folder that has a patient's name."""
    slides = tmp_path / WORDS[0]
    plant(slides, tissue(512)[:384])
    names = [name for name in PLANTED if name not in ("aperio-scale.svs", "dicom.dcm")]
    rows = [
        f"{PATIENTS[number % 4]},{name},,,,,vqa,{LABELS[0]},{LABELS[1]},,"
        for number, name in enumerate(names)
    ]
    (tmp_path / "labels.csv").write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")
    made = house(slides=slides)
    settings = made.home.folder / "hospital.toml"
    settings.write_text(
        settings.read_text().replace(str(made.home.settings.manifest), str(tmp_path / "labels.csv"))
    )
    return made


@contextmanager
def running(home: Home, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as IT starts it, its two streams in `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", "from client.cli import app; app()", "agent", str(home.folder)],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(happened: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_ready(home: Home) -> bool:
    try:
        return home.status_socket.exists() and call(home.status_socket, "health", b"", timeout=5) == b"ready"
    except AgentUnreachableError:
        return False


def ask(home: Home, parts: dict[str, bytes]) -> dict[str, bytes]:
    reply = call(home.socket, "train", envelope.pack(parts), timeout=120)
    return envelope.unpack(reply, 1 << 28)


def invoke(command: str, home: Home, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [command, str(home.folder), *options])
    return done.exit_code, done.output


def events(log: Path) -> list[dict[str, object]]:
    """The log's lines; each must be one JSON object."""
    return [json.loads(row) for row in log.read_text().splitlines()]


def test_no_identifier_reaches_log_metrics_or_health(place: House, tmp_path: Path) -> None:
    """Catches a slide's name or path, a patient's key, a label, or an exception's text in anything that leaves the home
    for the hospital's own monitoring; through training, a slide that goes bad in it, refusals and faults of ours.
    """
    home, log = place.home, tmp_path / "log"
    everyone = place.plan(mechanism=Mechanism(1.0, 1.0, 0.8, 4, 4))
    told: list[str] = []
    with running(home, log) as process:
        until(lambda: is_ready(home), process, log)
        told += [invoke("health", home)[1], invoke("metrics", home)[1]]
        assert set(ask(home, place.request(everyone))) == {"release/scale/roi", "release/scale/wsi"}
        told.append(invoke("metrics", home, "--json")[1])
        for name in list(PLANTED)[:4]:  # gone in the midst of it
            (home.settings.slides / name).write_bytes(f"{WORDS[0]} {PATIENTS[0]}".encode())
        ask(home, place.request(place.plan(2, mechanism=everyone.mechanism)))
        forged = place.request(place.plan(3)) | {"signature": WORDS[0].encode() * 5}
        assert ask(home, forged) == {"code": Refusal.PLAN_UNSIGNED.encode()}
        home.withdrawn.write_text(f"{PATIENTS[0]}\r{PATIENTS[1]}\n")  # an error of ours, which quotes no one
        assert ask(home, place.request(place.plan(4))) == {"code": Refusal.INTERNAL.encode()}
        home.withdrawn.unlink()
        home.experts.rename(tmp_path / PATIENTS[2])
        home.experts.symlink_to(tmp_path / PATIENTS[2] / WORDS[1])  # one of the system's, which quotes a path
        assert ask(home, place.request(place.plan(4))) == {"code": Refusal.INTERNAL.encode()}
        told += [invoke("metrics", home)[1], invoke("health", home, "--json")[1]]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    home.experts.unlink()
    home.settings.slides.rename(tmp_path / "moved")  # the error says which folder is not there
    with running(home, log) as process:
        assert process.wait(timeout=120) == 1
    words = [event["event"] for event in events(log)]
    assert {"work-began", "part-left", "request-refused", "request-failed", "agent-ending"} <= set(words)
    assert words[-1] == "start-refused"
    told += [log.read_text(), home.metrics.read_text()]
    for word in (*HIDDEN, str(home.settings.slides), "labels.csv", *PLANTED):
        assert not any(word in text for text in told), word
    details = home.details().read_text()
    numbers = [str(event["incident"]) for event in events(log) if "incident" in event]
    assert len(numbers) == 4
    assert all(number in details for number in numbers)
    assert WORDS[0] in details, "what the log left out must be somewhere, or nothing was tried"
    assert home.details().stat().st_mode & 0o777 == 0o600


def test_the_agent_tells_when_it_lives_and_when_it_is_ready(place: House, tmp_path: Path) -> None:
    """Catches a health check that calls a dead agent, or one that opens its slides still, ready; a unit that systemd never
    hears of; and figures that a dead agent leaves as if it lived.
    """
    home, log = place.home, tmp_path / "log"
    assert invoke("health", home) == (
        1,
        "no agent runs on this home: start it (`fedpath-hospital start`, its unit or its container), and see details.log in "
        "the home where it ends\n",
    )
    with home.only_agent():
        assert invoke("health", home)[0] == 1
        assert "starting" in invoke("health", home)[1]
        assert invoke("health", home, "--live")[0] == 0
    with running(home, log) as process:
        until(lambda: is_ready(home), process, log)
        assert invoke("health", home) == (0, "ready\n")
        until(home.metrics.exists, process, log)
        assert "fedpath_agent_up 1.0" in home.metrics.read_text()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert "fedpath_agent_up 0.0" in home.metrics.read_text()
    assert invoke("health", home, "--live")[0] == 1
    assert place.ledger().summary().replies == 0, "a health check must leave no entry"
    assert home.metrics.stat().st_mode & 0o777 == 0o640
    assert home.metrics.parent.stat().st_mode & 0o777 == 0o700


def test_systemd_is_told_that_a_daemon_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a unit that never comes up, or an agent that fails where there is no systemd."""
    from privacy.supervisor import tell_ready

    tell_ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        tell_ready()
        assert systemd.recv(100) == b"READY=1"
    tell_ready()  # it has gone


FIGURES = Figures(True, 1.5, 8.0, {"releases": 2, "busy": 1}, 4000, {"training": 30.0}, 1 << 30, 1 << 34)


def test_the_figures_are_these_and_no_others(place: House) -> None:
    """Catches a figure that somebody added: a count of patients, slides, samples or draws would look as harmless."""
    values = as_values(text(FIGURES, place.home, datetime.now(UTC)).decode())
    assert {str(value["name"]) for value in values} == TOLD
    assert not any(re.search("patient|slide|sample|draw|loss|reward", str(value)) for value in values)
    by_name = {(value["name"], *dict(value["labels"]).values()): value["value"] for value in values}  # type: ignore[call-overload]
    assert by_name["fedpath_epsilon_left",] == 6.5
    assert by_name["fedpath_answers_total", "busy"] == 1.0
    assert by_name["fedpath_days_left", "kit"] > 0
    over = replace(FIGURES, epsilon=9.0)
    assert b"fedpath_epsilon_left 0.0" in text(over, place.home, datetime.now(UTC))


@pytest.mark.parametrize(
    ("took", "said"), [(0.0, 0.0), (0.1, 10.0), (10.0, 10.0), (10.1, 20.0), (64.2, 70.0)]
)
def test_time_is_told_in_coarse_steps(took: float, said: float) -> None:
    """Catches a clock fine enough to tell how many patients a step had."""
    assert coarse(took) == said


def test_figures_are_written_by_the_clock_and_not_by_what_happens(
    place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a file whose time tells when a step or a round ended; and one that a full disk ends for good."""
    monkeypatch.setattr(metrics, "EVERY_S", 0.01)
    ended, calls = threading.Event(), []

    def figures(up: bool) -> bytes:
        calls.append(up)
        if len(calls) == 2:
            raise OSError("no space left")
        if len(calls) == 4:
            ended.set()
        return b"up %d\n" % up

    thread = metrics.keep_written(place.home, figures, ended)
    thread.join(30)
    assert calls == [True, True, True, True, False]
    assert place.home.metrics.read_bytes() == b"up 0\n"


def test_whoever_reads_the_file_finds_all_of_it(place: House) -> None:
    """Catches a scrape of half a file."""
    home, ended = place.home, threading.Event()
    home.metrics.parent.mkdir()
    texts = {letter * 200_000 for letter in (b"a", b"b")}
    from privacy.exposition import write

    write(home.metrics, b"a" * 200_000)

    def rewrite() -> None:
        while not ended.is_set():
            for some in texts:
                write(home.metrics, some)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        assert all(home.metrics.read_bytes() in texts for _ in range(200))
    finally:
        ended.set()
        thread.join(30)
