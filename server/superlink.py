"""Flower's own programs, as the consortium uses them: SuperLink, registering nodes, submitting and watching
runs.

Each runs as Flower ships it, with an environment of its own: no telemetry, no update check, its own
FLWR_HOME.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

from server.errors import SuperLinkError
from server.home import Home
from server.provision.authority import CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY
from server.provision.kit import to_openssh
from server.records import Hospital

CONNECTION = "consortium"
_TIMEOUT_S = 120
_WORDS = 600  # letters of a log that an error quotes
_SIDE_BY_SIDE = 4
_BIN = Path(sys.prefix) / "bin"


def environment(home: Home, part: str) -> dict[str, str]:
    """This process' environment, with Flower kept to the home's folder `flower/<part>`."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(_BIN), os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home.folder / "flower" / part),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "PYTHONUNBUFFERED": "1",
    }


def superlink_command(home: Home) -> list[str]:
    """The SuperLink: TLS, authenticated nodes, own database, nothing installed at run time."""
    return [
        str(_BIN / "flower-superlink"),
        *("--ssl-certfile", str(home.folder / SERVER_CERTIFICATE)),
        *("--ssl-keyfile", str(home.folder / SERVER_KEY)),
        *("--ssl-ca-certfile", str(home.folder / CA_CERTIFICATE)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
        *("--isolation", "subprocess"),
        *("--database", str(home.folder / "flower" / "superlink.db")),
        *("--host", _bind_address(home.host)),
        *("--port", str(home.port)),
    ]


def is_up(home: Home) -> bool:
    """Whether something listens on the home's port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", home.port)) == 0


def register(home: Home, hospital: Hospital) -> None:
    """Make a hospital's node known to the SuperLink; again changes nothing. Raises `SuperLinkError`."""
    with tempfile.NamedTemporaryFile(suffix=".pub") as file:
        file.write(to_openssh(hospital.supernode_key))
        file.flush()
        _, said = _flwr(home, ["supernode", "register", file.name, CONNECTION, "--name", hospital.name])
    if not any(words in said for words in ("registered successfully", "already in use")):
        raise SuperLinkError(f"{hospital.name}'s node could not be registered: {said}")


def register_all(home: Home, hospitals: Sequence[Hospital]) -> None:
    """`register` each, side by side: starting Flower's command takes seconds."""
    _write_connection(home)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for done in [pool.submit(register, home, hospital) for hospital in hospitals]:
            done.result()


def submit(home: Home, app: Path, campaign: Path) -> str:
    """Start a run of the Flower App in `app`; returns its run id. Raises `SuperLinkError`."""
    config = {"home": str(home.folder), "campaign": str(campaign.absolute())}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
        file.flush()
        with tempfile.TemporaryDirectory() as bundle:
            stage(app, Path(bundle))
            arguments = ["run", bundle, CONNECTION, "--run-config", file.name, "--format", "json"]
            values, said = _flwr(home, arguments)
    run_id = values.get("run-id")
    if not isinstance(run_id, str):
        raise SuperLinkError(f"the run was not started: {said}")
    return run_id


def stage(app: Path, bundle: Path) -> None:
    """Copy what the Flower App in `app` ships (its `fab-include`) to the folder `bundle`, and nothing else.

    Flower looks through the whole folder that it is given; a checkout holds environments and data as well.
    """
    ships = tomllib.loads((app / "pyproject.toml").read_text("utf-8"))["tool"]["flwr"]["app"]["fab-include"]
    for path in (app / "pyproject.toml", *(found for pattern in ships for found in app.glob(pattern))):
        target = bundle / path.relative_to(app)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def has_ended(home: Home, run_id: str) -> bool:
    """Whether Flower says that the run has ended, well or badly. Raises `SuperLinkError`."""
    values, said = _flwr(home, ["list", CONNECTION, "--run-id", run_id, "--format", "json"])
    runs = values.get("runs")
    if not isinstance(runs, list) or not runs:
        raise SuperLinkError(f"Flower does not know run {run_id}: {said}")
    return str(runs[0].get("status", "")).startswith("finished")


def last_words(home: Home, run_id: str) -> str:
    """The end of what the run wrote to Flower's log."""
    _, said = _flwr(home, ["log", run_id, CONNECTION, "--show"])
    return said[-_WORDS:]


def app_folder() -> Path:
    """The folder of the Flower App: where pyproject.toml lies beside the packages. Raises
    `SuperLinkError`."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / "pyproject.toml").is_file():
        raise SuperLinkError(
            f"{folder} holds no pyproject.toml: run the campaign from a source checkout of FedPath"
        )
    return folder


def _flwr(home: Home, arguments: Sequence[str]) -> tuple[Mapping[str, object], str]:
    """Run `flwr`; returns the JSON object that it printed last ({} for none) and all that it said."""
    _write_connection(home)
    command = [str(_BIN / "flwr"), *arguments]
    try:
        done = subprocess.run(
            command, env=environment(home, "cli"), capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise SuperLinkError(
            f"no answer from the SuperLink at {home.superlink} in {_TIMEOUT_S} s: is it running (`start`)?"
        ) from None
    return _last_object(done.stdout), " ".join((done.stdout + done.stderr).split())


def _last_object(text: str) -> Mapping[str, object]:
    start = text.find("{")
    try:
        value = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _write_connection(home: Home) -> None:
    """The CLI's configuration: one connection, to this home's SuperLink over TLS on loopback."""
    text = (
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "127.0.0.1:{home.port}"\n'
        f"root-certificates = {json.dumps(str(home.folder / CA_CERTIFICATE))}\n"
    )
    path = home.folder / "flower" / "cli" / "config.toml"
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def _bind_address(host: str) -> str:
    """Loopback stays loopback; any other host is reached on all of the machine's addresses."""
    try:
        return host if ip_address(host).is_loopback else "0.0.0.0"  # noqa: S104 - hospitals must reach it
    except ValueError:
        return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104
