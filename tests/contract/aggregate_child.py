"""Aggregates one release on disk as if so many hospitals had sent it; prints the process' peak memory in bytes.

python -m tests.contract.aggregate_child FILE RULE HOSPITALS
"""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from privacy import tensors
from privacy.release import PAYLOAD, Header, Release
from privacy.release_file import keep_release
from strategies.aggregate import Recipe, aggregate
from strategies.gathered import gather
from tests.privacy_cases import PLAN


def main(path: Path, rule: str, hospitals: int) -> None:
    payload = path.read_bytes()[PAYLOAD:]
    header = Header.from_bytes(tensors.read_metadata(payload, len(payload)).encode())
    del payload
    kept = keep_release(path, Release(**vars(header), tensors={}))
    found = [replace(kept, header=replace(header, hospital=f"h{number:03}")) for number in range(hospitals)]
    start = {name: np.zeros(shape, np.float32) for name, shape in header.shapes.items()}
    recipe = Recipe(rule=rule, hostile=1 if rule in ("trimmed-mean", "multi-krum") else 0)
    state = aggregate(gather(header.expert, start, found), recipe, PLAN).state
    assert all(value.any() for value in state.values())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
