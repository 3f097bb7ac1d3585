"""docs/coordinators-page.md, done as it says: a user is added, and the page is served."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from demo.processes import ROOT
from server.cli import app
from server.home import Home
from tests.documented import claim
from tests.unit.page.conftest import PASSWORD

ADD, SERVE = claim("docs/coordinators-page.md")


def test_a_user_is_added_and_the_page_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a page whose commands add nobody, or serve at another place than they print."""
    monkeypatch.chdir(tmp_path)
    Home.create(Path("consortium"), "rhine", "127.0.0.1", 1)
    done = CliRunner().invoke(app, ADD.arguments, input=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    code = "from server.cli import app; app()"
    free = ["--port", "0"]  # the page's own may be taken here
    process = subprocess.Popen(
        [sys.executable, "-c", code, *SERVE.arguments, *free],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        told = {"name": "cora", "password": PASSWORD, "next": "/"}
        answer = httpx.post(f"{address[0]}login", data=told, timeout=60)
        assert answer.status_code == 303, answer.text
    finally:
        process.terminate()
        process.wait(60)
