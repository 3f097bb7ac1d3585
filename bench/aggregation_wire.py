"""What a release weighs and how fast it is written and read, for `bench.aggregation`.

    python -m bench.aggregation_wire TENSORS ROWS COLUMNS REPEATS

In a process of its own, as the process that seals or checks one release a round: what others did before would decide how much
memory is at hand, and to get memory costs as much as the work. Prints one JSON object.

    copy        numpy's copy of the float32 arrays into new ones
    copy_kept   the same into arrays that are there already
    write       quantise and serialise
    read        parse, check the bytes, dequantise, sum the norm

Figures are GB of float32 a second of CPU: the median, the least and the most of interleaved repeats. `release_to_float32` is the
release's bytes over its float32 bytes; of FFA-LoRA also over those of A and B of square layers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

import numpy as np

from bench.aggregation_round import Size, change, header, new_key
from bench.ledger import seconds
from bench.privacy_timing import Figures, interleaved
from privacy.payload import norm_of, pack, unpack
from privacy.release import PAYLOAD


def in_a_process(size: Size, repeats: int) -> Figures:
    """`measure`, in another process."""
    asked = map(str, (size.tensors, size.rows, size.columns, repeats))
    child = [sys.executable, "-m", "bench.aggregation_wire", *asked]
    found: Figures = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def measure(size: Size, repeats: int) -> Figures:
    """All figures, in this process."""
    found = change(size, 0)
    told = header(found.shapes, found.hospital, new_key().public, found.noise_variance)
    text, arrays = told.to_bytes().decode(), list(found.tensors.values())
    payload = pack(found.tensors, text, told.nonce)
    kept = [np.empty_like(value) for value in arrays]

    def copy_kept() -> None:
        for to, value in zip(kept, arrays, strict=True):
            to[...] = value

    works = {
        "copy": lambda: seconds(lambda: [value.copy() for value in arrays]),
        "copy_kept": lambda: seconds(copy_kept),
        "write": lambda: seconds(lambda: pack(found.tensors, text, told.nonce)),
        "read": lambda: seconds(lambda: norm_of(unpack(payload, found.shapes, len(payload)).values())),
    }
    took = interleaved(works, repeats)
    sent = PAYLOAD + len(payload)
    figures: Figures = {
        "release_mib": round(sent / 2**20, 1),
        "release_to_float32": round(sent / size.bytes, 4),
        "ffa_release_to_float32_of_a_and_b": round(sent / (2 * size.bytes), 4),
    }
    figures |= {f"{name}_gb_s": _speed(size, each) for name, each in took.items()}
    for way in ("write", "read"):
        for floor in ("copy", "copy_kept"):
            ratios = (a / b for a, b in zip(took[way], took[floor], strict=True))
            figures[f"{way}_to_{floor}"] = round(median(ratios), 3)
    return figures


def _speed(size: Size, took: Sequence[float]) -> str:
    speeds = sorted(size.bytes / 1e9 / each for each in took)
    return f"{median(speeds):.2f} ({speeds[0]:.2f}-{speeds[-1]:.2f})"


if __name__ == "__main__":
    tensors, rows, columns, repeats = map(int, sys.argv[1:5])
    print(json.dumps(measure(Size(tensors, rows, columns, 1), repeats)))
