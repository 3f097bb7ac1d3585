"""What if: Flower's simulation engine runs a campaign on this machine alone, every hospital inside it.

The server, the rounds and the releases are the real ones; what lacks is the walls: no TLS, no courier, no
confinement. So it is for synthetic or public data.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from server.errors import SuperLinkError
from server.flower_cli import FlowerCli, environment, toml
from server.home import Home
from server.loopback import accepts, free_port

PROJECT = Path(__file__).with_name("simulation.toml")
_START_S = 60.0
_GRACE_S = 30.0


@contextmanager
def engine(home: Home) -> Iterator[FlowerCli]:
    """A SuperLink in simulation mode, on loopback, for as long as the block lasts. Raises `SuperLinkError`."""
    if importlib.util.find_spec("ray") is None:
        raise SuperLinkError(
            "Flower simulates with ray, which is not installed: "
            "run `pip install -e '.[simulation]'` in FedPath's checkout"
        )
    folder, port = home.folder / "flower" / "simulation", free_port()
    folder.mkdir(mode=0o700, exist_ok=True)
    log = folder / "superlink.log"
    with log.open("wb") as out:
        link = subprocess.Popen(
            _command(port), env=_environment(folder), stdout=out, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + _START_S
        while not accepts(port):
            if link.poll() is not None or time.monotonic() > end:
                raise SuperLinkError(f"the simulation's SuperLink did not start: {log} says why")
            time.sleep(0.1)
        yield FlowerCli(folder, toml({"address": f"127.0.0.1:{port}", "insecure": True}))
    finally:
        link.terminate()
        try:
            link.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            link.kill()


def submit(cli: FlowerCli, home: Home, campaign: Path, hospitals: Sequence[Path], workers: int) -> str:
    """Start the campaign with one simulated node a hospital, `workers` at work at once; returns the run id."""
    config = {
        "home": str(home.folder),
        "campaign": str(campaign.absolute()),
        "hospitals": os.pathsep.join(str(folder.absolute()) for folder in hospitals),
    }
    size = f"num-supernodes={len(hospitals)} client-resources-num-cpus=1 init-args-num-cpus={workers}"
    return cli.submit(PROJECT, config, "--federation-config", size)


def _command(port: int) -> list[str]:
    return [
        str(Path(sys.prefix) / "bin" / "flower-superlink"),
        *("--insecure", "--simulation", "--disable-runtime-dependency-installation"),
        *("--isolation", "subprocess"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]


def _environment(folder: Path) -> dict[str, str]:
    """One thread a torch process (docs/adr/0006), and ray neither reports its use nor steps behind all others."""
    return {
        **environment(folder),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
