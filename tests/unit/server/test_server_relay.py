"""How a ServerApp's events come into the log of `start`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from privacy.events import Name, tell
from server import relay
from server.events import CampaignDone
from server.relay import Relay


def test_events_of_another_process_are_passed_on_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches an event that is lost or told twice, half a line, and a file that grows for ever."""
    monkeypatch.setattr(relay, "_BYTES", 10)
    path = tmp_path / "events.log"
    path.write_text("of a dead one\n")
    made = Relay(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with monkeypatch.context() as serverapp:
        for name, value in made.environment.items():
            serverapp.setenv(name, value)
        tell(CampaignDone(Name("spring")))
    assert capsys.readouterr().err == ""
    made.pass_on()
    (told,) = capsys.readouterr().err.splitlines()
    assert json.loads(told)["event"] == "campaign-done"
    assert path.stat().st_size == 0
    with path.open("a") as file:
        file.write("one\nhal")
    made.pass_on()
    with path.open("a") as file:
        file.write("f\n")
    made.pass_on()
    made.pass_on()
    assert capsys.readouterr().err == "one\nhalf\n"
    path.unlink()
    made.pass_on()
