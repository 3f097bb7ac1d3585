"""Peak memory of a process that takes in a round's releases from disk and aggregates them, for `bench.aggregation`.

    python -m bench.aggregation_memory FOLDER RULE TENSORS ROWS COLUMNS HOSPITALS

FOLDER holds the releases by their hospitals' names, and the public key that they are signed with. Each is read, checked and
counted as the consortium does it (`strategies.intake`), one at a time; then the expert is aggregated and encoded. Prints
MiB of resident memory at most (VmHWM), less what stood before the first release.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import command
from bench.aggregation_round import Size, intake, name_of, new_key, sealed
from bench.peers.environment import BUILD
from bench.weighting import EXPERT
from privacy.keys import load_public

KEY = "key.pub"


def peaks(size: Size, rules: Iterable[str], hospitals: Iterable[int]) -> dict[str, dict[str, float]]:
    """MiB by rule and number of hospitals, each in a process of its own; releases take a quarter of `size` a hospital on disk."""
    counts = sorted(hospitals)
    found: dict[str, dict[str, float]] = {rule: {} for rule in rules}
    BUILD.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="aggregation-", dir=BUILD) as place:
        key, folder = new_key(), Path(place)
        (folder / KEY).write_bytes(key.public.to_pem())
        for number, data in enumerate(sealed(size, counts[-1], key)):
            (folder / name_of(number)).write_bytes(data)
        for count in counts:
            for rule, told in found.items():
                command.measuring(f"memory, {rule}, {count} hospitals")
                asked = [place, rule, size.tensors, size.rows, size.columns, count]
                child = [sys.executable, "-m", "bench.aggregation_memory", *map(str, asked)]
                said = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout
                told[f"{count}_hospitals_mib"] = float(said)
    return found


def measure(folder: Path, rule: str, size: Size) -> float:
    """MiB in this process."""
    key = load_public(folder / KEY)
    names = [name_of(number) for number in range(size.hospitals)]
    lie = (folder / name for name in names)  # each is accepted, so each is asked for once
    round_of = intake(size, rule, [key] * size.hospitals, lambda data: next(lie))
    before = _peak()
    for name in names:
        verdict = round_of.take(name, EXPERT, (folder / name).read_bytes())
        assert verdict.fault is None, verdict.fault
    assert not round_of.aggregated(EXPERT).report["too_few"]
    return round((_peak() - before) / 1024, 1)


def _peak() -> int:
    """KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise OSError("no VmHWM in /proc/self/status: this needs Linux")


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), sys.argv[2], Size(*map(int, sys.argv[3:7]))))
