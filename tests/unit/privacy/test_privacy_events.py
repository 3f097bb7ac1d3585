"""The log's closed form: what an event can hold, how it is written, and where free words go instead."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import typing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

import client.events
import server.events
from demo.processes import ROOT
from privacy import events
from privacy.codes import Refusal
from privacy.events import Digest, Event, Name, Ordinal, line, tell

AT = datetime(2026, 11, 27, 13, 0, 5, 123456, UTC)
OURS = (events, client.events, server.events)
# What `Name` may be made of: an attribute of a plan, a policy or an enrolment; or what a function took as one of these.
NAMED = {"campaign", "hospital", "name"}


def kinds() -> list[type[Event]]:
    """Every event of the project."""
    return [
        kind
        for module in OURS
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    ]


def odd_fields(kind: type[Event]) -> list[str]:
    """Fields of a type that could hold anything."""
    odd = []
    for name, hint in typing.get_type_hints(kind).items():
        parts = typing.get_args(hint) or (hint,)
        if name != "level" and not all(events.allowed(part) or part is type(None) for part in parts):
            odd.append(name)
    return odd


def test_every_event_has_fields_of_closed_types_alone() -> None:
    """Catches an event with a text, a path or a bare number in it: such a field could hold a patient or their count."""
    assert len(kinds()) > 20
    assert {kind.__name__: odd_fields(kind) for kind in kinds()} == {kind.__name__: [] for kind in kinds()}


def test_a_field_that_could_hold_anything_is_found() -> None:
    """Catches a check that finds nothing."""

    @dataclass(frozen=True)
    class Planted(Event):
        slide: Path
        patient: str
        patients: int
        round: Ordinal
        code: Refusal | None

    Planted.__module__ = __name__
    globals()["Planted"] = Planted
    assert odd_fields(Planted) == ["slide", "patient", "patients"]
    with pytest.raises(TypeError, match=r"Planted\.slide must not be a PosixPath"):
        Planted(Path("DOE.svs"), "DOE", 3, Ordinal(1), None)  # where no type checker looked


@pytest.mark.parametrize(
    "text", ["/srv/slides/a", "DOE^JANE", "Erika Mustermann", "", "a" * 65, "a\nb", "a/b"]
)
def test_what_is_no_name_and_no_hash_is_refused(text: str) -> None:
    """Catches a path, a patient's name or a second line in a field for names."""
    for kind in (Name, Digest):
        with pytest.raises(ValueError, match="not"):
            kind(text)


def made_names(source: str) -> list[str]:
    """The calls of `Name` in a module that are made of something else than what `NAMED` says."""
    odd = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Name":
            (argument,) = node.args
            word = argument.attr if isinstance(argument, ast.Attribute) else ast.unparse(argument)
            if word not in NAMED:
                odd.append(ast.unparse(node))
    return odd


def test_names_in_the_log_are_campaigns_and_hospitals() -> None:
    """Catches a patient's key or a slide's name, spelled like a campaign's, passed off as one."""
    found = {
        str(path.relative_to(ROOT)): made_names(path.read_text("utf-8"))
        for folder in ("client", "privacy", "server", "strategies")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: odd for path, odd in found.items() if odd} == {}
    assert made_names("tell(X(Name(sample.patient), Name(path.stem), Name(plan.campaign)))") == [
        "Name(sample.patient)",
        "Name(path.stem)",
    ]


def test_a_line_is_one_json_object_with_time_level_word_and_fields() -> None:
    """Catches a line that a collector can't read, and a time that is not UTC's."""
    event = client.events.WorkBegan(client.events.Phase.TRAINING, Name("spring"), Ordinal(3))
    text = line(event, AT, as_json=True)
    assert json.loads(text) == {
        "at": "2026-11-27T13:00:05Z",
        "level": "info",
        "event": "work-began",
        "phase": "training",
        "campaign": "spring",
        "round": 3,
    }
    assert (
        line(event, AT, as_json=False)
        == "2026-11-27T13:00:05Z info work-began phase=training campaign=spring round=3"
    )
    assert "campaign" not in line(client.events.WorkBegan(client.events.Phase.SUMMING), AT, as_json=True)


@pytest.mark.parametrize(("asked", "is_json"), [(None, True), ("json", True), ("text", False), ("x", True)])
def test_the_form_is_json_unless_asked_for_text(
    asked: str | None, is_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches text in a collector's pipe; and a setting that does nothing. (Here standard error is no terminal.)"""
    monkeypatch.delenv(events.ENVIRONMENT, raising=False)
    if asked is not None:
        monkeypatch.setenv(events.ENVIRONMENT, asked)
    tell(client.events.AgentReady())
    assert capsys.readouterr().err.startswith("{") == is_json


def test_words_of_no_closed_set_are_one_word() -> None:
    """Catches a hostile hospital that writes into the coordinator's log."""
    assert server.events.closed("busy") is Refusal.BUSY
    assert server.events.closed("releases") is server.events.Answer.RELEASES
    assert server.events.closed("DOE^JANE") is server.events.Answer.OTHER


TALKATIVE = """
import logging, os, sys, threading, warnings
from pathlib import Path
from privacy import details
from privacy.details import keep_details, start_told
from privacy.events import tell
details._BYTES = 4000
place = Path(sys.argv[1])
keep_details(place)
logging.getLogger("fedpath.agent").warning("slide %s", "DOE-1")
logging.getLogger("some.library").error("DOE-2")
warnings.warn("DOE-3")
def fail():
    raise RuntimeError("DOE-4")
thread = threading.Thread(target=fail)
thread.start(); thread.join()
try:
    with start_told(OSError):
        raise OSError("DOE-5")
except SystemExit:
    pass
logging.getLogger("odd").error("%d", "DOE-6")  # a call that logging can't format
for _ in range(int(sys.argv[2])):
    logging.getLogger("fedpath.agent").warning("x" * 300)
raise RuntimeError("DOE-7")
"""


def _talk(place: Path, lines: int) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", TALKATIVE, str(place), str(lines)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    return done.stdout + done.stderr, "".join(
        path.read_text() for path in sorted(place.parent.iterdir()) if path.is_file()
    )


def test_free_words_stay_in_a_file_of_the_users_own(tmp_path: Path) -> None:
    """Catches a library's word, a warning, a thread's or the process' own traceback in the log that is shipped."""
    place = tmp_path / "details.log"
    place.touch(0o644)
    log, kept = _talk(place, 0)
    assert "DOE" not in log
    assert [json.loads(row)["event"] for row in log.splitlines()] == ["crashed", "start-refused", "crashed"]
    for number in (1, 2, 3, 4, 5, 7):
        assert f"DOE-{number}" in kept
    assert all(json.loads(row)["incident"] in kept for row in log.splitlines())
    assert place.stat().st_mode & 0o777 == 0o600


def test_details_are_bounded(tmp_path: Path) -> None:
    """Catches a file that a hostile coordinator fills the disk with, a refusal at a time."""
    place = tmp_path / "details.log"
    _talk(place, 500)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["details.log", "details.log.1"]
    assert all(path.stat().st_size < 12_000 for path in tmp_path.iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_a_full_disk_sends_nothing_to_the_log(tmp_path: Path) -> None:
    """Catches logging's own habit of printing the record that it could not write."""
    code = (
        "import sys, logging; from pathlib import Path; from privacy import details; "
        "handler = details._Bounded(Path(sys.argv[1])); logging.basicConfig(handlers=[handler]); "
        "handler.stream = open('/dev/full', 'w'); logging.error('DOE-1')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "d")], capture_output=True, text=True, cwd=ROOT
    )
    assert "DOE" not in done.stdout + done.stderr


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Catches details that are written to where a link leads."""
    (tmp_path / "details.log").symlink_to(tmp_path / "elsewhere")
    code = "import sys; from pathlib import Path; from privacy.details import keep_details; keep_details(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "details.log")],
        capture_output=True,
        cwd=ROOT,
        env=os.environ,
    )
    assert done.returncode != 0
    assert not (tmp_path / "elsewhere").exists()
