"""What a round costs beyond training: a small real federation over TLS on loopback, timed from its own records.

    python -m bench.round_overhead [--json]

Start-up is from starting the first process to the opening of the first round.  A round's training is the slowest
hospital's time from reservation to spend, as its own ledger says; all else of the round is overhead, split by the
consortium's record: gathering nodes, carrying (plan out, releases back, new processes of Flower), aggregating.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench import command
from client.home import Home as Hospital
from demo.__main__ import run
from demo.house import CAMPAIGN, House, open_house
from demo.recipe import DEMO
from privacy import keys
from privacy.ledger.database import Database
from privacy.ledger.entries import Kind
from privacy.ledger.reading import read
from server.status import status

PATIENTS = 12


def measure(folder: Path, console: Console) -> dict[str, float]:
    """Runs the small federation in `folder`; seconds by name, medians over rounds, and the overhead's ratio to training."""
    small = tuple(
        replace(stage, rounds=2, mechanism=replace(stage.mechanism, steps=2)) for stage in DEMO.stages
    )
    recipe = replace(DEMO, patients=PATIENTS, public_patients=2, stages=small)
    run(folder, recipe, console)
    house = open_house(folder / "federation")
    rounds = _rounds(house)
    first = min(round_["opened_at"] for round_ in rounds)
    found = {
        "start_up_s": first - (folder / "federation" / "stamp.json").stat().st_mtime,
        **{name: median(round_[name] for round_ in rounds) for name in rounds[0] if name != "opened_at"},
    }
    found["overhead_to_training"] = found["overhead_s"] / found["training_s"]
    return {name: round(value, 4) for name, value in found.items()}


def _rounds(house: House) -> list[dict[str, float]]:
    (campaign,) = [c for c in status(house.consortium)["campaigns"] if c["name"] == CAMPAIGN]
    training = [_training(hospital) for hospital in house.hospitals]
    return [_split(found, max(own[found["number"]] for own in training)) for found in campaign["rounds"]]


def _split(found: dict[str, Any], training: float) -> dict[str, float]:
    begun, ended = (datetime.fromisoformat(found[key]).timestamp() for key in ("opened_at", "committed_at"))
    phases = found["seconds"]
    carry = phases["wait"] - training
    whole = ended - begun + phases["gather"]
    return {
        "opened_at": begun,
        "round_s": whole,
        "training_s": training,
        "overhead_s": whole - training,
        "gather_s": phases["gather"],
        "carry_s": carry,
        "aggregate_s": phases["aggregate"],
        "release_bytes": float(sum(verdict["bytes"] for verdict in found["verdicts"])),
    }


def _training(hospital: Hospital) -> dict[int, float]:
    """Seconds from reservation to spend, by round."""
    entries, _ = read(Database(hospital.ledger, read_only=True), keys.load(hospital.release_key).public)
    begun: dict[int, float] = {}
    took: dict[int, float] = {}
    for entry in entries:
        at = datetime.fromisoformat(str(entry.at)).timestamp()
        if entry.kind == Kind.RESERVATION:
            begun[len(begun) + 1] = at
        elif entry.kind == Kind.SPEND:
            took[len(took) + 1] = at - begun[len(took) + 1]
    return took


def main() -> None:
    """Command line."""
    asked = command.options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), Console(quiet=asked.json))
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value:10.3f}")


if __name__ == "__main__":
    main()
