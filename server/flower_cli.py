"""Flower's own command line, bound to one SuperLink: submitting runs, asking after them, and stopping them.

Each command runs as Flower ships it, with an environment of its own: no telemetry, no update check, its own
FLWR_HOME.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.errors import SuperLinkError

CONNECTION = "consortium"
_TIMEOUT_S = 120
_WORDS = 600  # letters of a log that an error quotes
_BIN = Path(sys.prefix) / "bin"
_COLOURING = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE")  # of what is read here as JSON


def environment(flower_home: Path) -> dict[str, str]:
    """This process' environment, with Flower kept to the folder `flower_home`."""
    return {
        **{name: value for name, value in os.environ.items() if name not in _COLOURING},
        "PATH": os.pathsep.join([str(_BIN), os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(flower_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        "PYTHONUNBUFFERED": "1",
    }


def toml(values: Mapping[str, str | bool]) -> str:
    """Plain values as lines of TOML."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


@dataclass(frozen=True)
class FlowerCli:
    """`folder` is the commands' FLWR_HOME; `connection` the lines of TOML that say how to reach the
    SuperLink: making this writes them there, once for all commands.
    """

    folder: Path
    connection: str

    def __post_init__(self) -> None:
        text = f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n{self.connection}'
        path = self.folder / "config.toml"
        if not path.exists() or path.read_text("utf-8") != text:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def submit(self, project: Path, config: Mapping[str, str], *options: str) -> str:
        """Start a run of the Flower App that `project` describes; returns its run id. Raises
        `SuperLinkError`.
        """
        with tempfile.TemporaryDirectory() as folder:
            bundle, file = Path(folder) / "bundle", Path(folder) / "run.toml"
            bundle.mkdir()
            stage(project, bundle)
            file.write_text(toml(config), "utf-8")
            values, said = self.run(
                "run", str(bundle), CONNECTION, "--run-config", str(file), "--format", "json", *options
            )
        run_id = values.get("run-id")
        if not isinstance(run_id, str):
            raise SuperLinkError(f"the run was not started: {said}")
        return run_id

    def has_ended(self, run_id: str) -> bool:
        """Whether Flower says that the run has ended, well or badly. Raises `SuperLinkError`."""
        values, said = self.run("list", CONNECTION, "--run-id", run_id, "--format", "json")
        runs = values.get("runs")
        if not isinstance(runs, list) or not runs:
            raise SuperLinkError(f"Flower does not know run {run_id}: {said}")
        return str(runs[0].get("status", "")).startswith("finished")

    def stop(self, run_id: str) -> None:
        """End a run; one that has ended stays so. Raises `SuperLinkError`."""
        values, said = self.run("stop", run_id, CONNECTION, "--format", "json")
        if values.get("success") is not True and not self.has_ended(run_id):
            raise SuperLinkError(f"run {run_id} was not stopped: {said}")

    def last_words(self, run_id: str) -> str:
        """The end of what the run wrote to Flower's log."""
        _, said = self.run("log", run_id, CONNECTION, "--show")
        return said[-_WORDS:]

    def run(self, *arguments: str) -> tuple[Mapping[str, object], str]:
        """Run `flwr`; returns the JSON object that it printed last ({} for none) and all that it said."""
        try:
            done = subprocess.run(
                [str(_BIN / "flwr"), *arguments],
                env=environment(self.folder),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise SuperLinkError(
                f"no answer from the SuperLink in {_TIMEOUT_S} s: is it running (`start`)?"
            ) from None
        return _last_object(done.stdout), " ".join((done.stdout + done.stderr).split())


def stage(project: Path, bundle: Path) -> None:
    """Copy what a Flower App ships (its `fab-include`) to the folder `bundle`, and nothing else.

    `project` is the app's file, in the form of a pyproject.toml; patterns start from the source checkout.
    Flower looks through the whole folder that it is given; a checkout holds environments and data as well.
    """
    root = checkout()
    ships = tomllib.loads(project.read_text("utf-8"))["tool"]["flwr"]["app"]["fab-include"]
    shutil.copyfile(project, bundle / "pyproject.toml")
    for path in (found for pattern in ships for found in root.glob(pattern)):
        target = bundle / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def checkout() -> Path:
    """The folder where pyproject.toml lies beside the packages. Raises `SuperLinkError`."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / "pyproject.toml").is_file():
        raise SuperLinkError(
            f"{folder} holds no pyproject.toml: run the campaign from a source checkout of FedPath"
        )
    return folder


def _last_object(text: str) -> Mapping[str, object]:
    start = text.find("{")
    try:
        value = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
