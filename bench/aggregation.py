"""How fast one expert's round is aggregated, how much memory that takes, and what releases weigh: beside numpy and peers.

    python -m bench.aggregation [--json] [--small]

Eight hospitals, 336 matrices of 2048 x 16 each (44 MB in float32). CPU seconds of one thread: medians of interleaved repeats
with the least and the most; ratios are medians over the repeats.

    floor           numpy: for every matrix, the weighted mean of the hospitals' float32 arrays into a new array, in place: one
                    multiplication and one sum a hospital. Nothing else is done, and nothing is checked
    floor_equal     the same for equal weights: one sum a hospital, one multiplication at the end
    ours_<rule>     strategies.aggregate on the same arrays: the mean (equal weights), the declared mean (the floor's weights) or
                    a robust rule, agreement between hospitals measured, and the result added to the expert
    ours_from_disk  the mean from checked int8 releases on disk: read, dequantised and aggregated
    ours_taken_in   all of a round: each release checked with its signature, then aggregated from disk and encoded
    flower          FedAvg.aggregate_train on the same arrays, weighted, as Messages with ArrayRecords
    nvflare         InTimeAccumulateWeightedAggregator on such arrays, weighted, in an environment of its own
    pfl             SumAggregator and average on such arrays, in an environment of its own

`memory` is what processes that take in releases from disk and aggregate them need at most (`bench.aggregation_memory`);
`wire` what a release weighs, and how fast it is written and read beside numpy's copy (`bench.aggregation_wire`); `held` which
goals are reached: those of `setting`, and that memory grows by less than one release from 8 hospitals to 256. `--small`
proves only that all of it runs. Five minutes on two quiet cores once peers are installed, and 3 GB under build/bench.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from bench import command
from bench.aggregation_memory import peaks
from bench.aggregation_round import (
    FULL,
    SMALL,
    Size,
    change,
    intake,
    name_of,
    new_key,
    recipe_of,
    sealed,
    start,
)
from bench.aggregation_wire import in_a_process
from bench.ledger import seconds
from bench.peers.environment import Peer, PeerError, environment
from bench.privacy_noise import PFL
from bench.privacy_timing import Figures, interleaved
from bench.weighting import EXPERT, PLAN, Change
from privacy.keys import PublicKey
from privacy.release import PAYLOAD, Header, Release
from privacy.release_file import keep_release
from privacy.tensors import read_metadata
from strategies.aggregate import MEAN, MEDIAN, RULES, Recipe, aggregate
from strategies.gathered import Contribution, gather
from strategies.noise import delta_noise
from strategies.weighting import DECLARED, Weighting

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
NVFLARE = ("nvflare==2.9.0",)
REPEATS, FEW = 11, 2
HOSPITALS = (8, 32, 128, 256)
GOALS = {
    "mean_to_floor_most": 1.3,
    "flower_to_mean_least": 4.0,
    "release_most": 0.26,
    "ffa_release_most": 0.13,
    "gb_s_least": 1.0,
    "to_copy_most": 2.0,  # the time of numpy's copy into new arrays
}


def measure(*, small: bool) -> dict[str, Mapping[str, object]]:
    """All figures. Progress goes to stderr."""
    size = SMALL if small else FULL
    repeats = FEW if small else REPEATS
    changes = [change(size, number) for number in range(size.hospitals)]
    absent: dict[str, str] = {}
    found: dict[str, Mapping[str, object]] = {
        "setting": {
            "small": small,
            "megabytes_a_hospital": size.bytes / 1e6,
            "hospitals": size.hospitals,
            "goals": GOALS,
        }
    }
    command.measuring("time")
    found["time"] = _times(size, changes, repeats, absent)
    command.measuring("wire")
    found["wire"] = in_a_process(size, repeats)
    for rule, told in peaks(size, (MEAN, MEDIAN), HOSPITALS[:2] if small else HOSPITALS).items():
        each = list(told.values())
        release = float(str(found["wire"]["release_mib"]))
        found[f"memory_{rule}"] = {**told, "growth_mib": round(each[-1] - each[0], 1), "release_mib": release}
    found["held"] = held(found)
    found["absent"] = absent
    return found


def held(found: Mapping[str, Mapping[str, object]]) -> dict[str, bool]:
    """Which of `GOALS` these figures reach. Of time like is set beside like: the mean of declared weights beside the weighted
    floor and FedAvg's weighted mean.
    """
    time, wire = found["time"], found["wire"]
    grown = [memory for section, memory in found.items() if section.startswith("memory_")]
    fast = [_first(wire[f"{way}_gb_s"]) >= GOALS["gb_s_least"] for way in ("write", "read")]
    copied = [_first(wire[f"{way}_to_copy"]) <= GOALS["to_copy_most"] for way in ("write", "read")]
    return {
        "mean_to_floor": _first(time["ours_declared_to_floor"]) <= GOALS["mean_to_floor_most"],
        "flower_to_mean": _first(time["flower_to_ours_declared"]) >= GOALS["flower_to_mean_least"],
        "growth": all(_first(each["growth_mib"]) <= _first(each["release_mib"]) for each in grown),
        "release": _first(wire["release_to_float32"]) <= GOALS["release_most"],
        "ffa_release": _first(wire["ffa_release_to_float32_of_a_and_b"]) <= GOALS["ffa_release_most"],
        "wire": all(fast) and all(copied),
    }


def _first(figure: object) -> float:
    """A figure, or the median of a spread."""
    return float(str(figure).split()[0])


def _times(size: Size, changes: Sequence[Change], repeats: int, absent: dict[str, str]) -> Figures:
    weights = {found.hospital: 1.0 + number / 10 for number, found in enumerate(changes)}
    delta_noise(PLAN)  # simulated once a plan, and remembered
    works: dict[str, Callable[[], float]] = {
        "floor": lambda: seconds(lambda: floor(changes, list(weights.values()))),
        "floor_equal": lambda: seconds(lambda: floor_equal(changes)),
        "ours_declared": _ours(size, changes, Recipe(weighting=Weighting(DECLARED, weights))),
        **{f"ours_{rule}": _ours(size, changes, recipe_of(rule)) for rule in RULES},
        "flower": _flower(changes, list(weights.values())),
    }
    shape = (size.tensors, size.rows, size.columns, size.hospitals)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="fedpath-bench-")))
        key = new_key()
        for number, data in enumerate(sealed(size, size.hospitals, key)):
            (folder / name_of(number)).write_bytes(data)
        kept = [_kept(folder / name_of(number)) for number in range(size.hospitals)]
        works["ours_from_disk"] = _ours(size, kept, Recipe())
        works["ours_taken_in"] = lambda: seconds(lambda: _taken_in(size, folder, key.public))
        for name, requirements in (("nvflare", NVFLARE), ("pfl", PFL)):
            try:
                peer = Peer(environment(name, requirements), Path(f"{name}_mean.py"), *shape)
                works[name] = stack.enter_context(peer).seconds
            except PeerError as error:
                absent[name] = str(error)
        took = interleaved(works, repeats)
    found: Figures = {f"{name}_s": _spread(each) for name, each in took.items()}
    found |= {
        f"{name}_to_floor": _ratio(each, took["floor"]) for name, each in took.items() if name != "floor"
    }
    found["ours_mean_to_floor_equal"] = _ratio(took["ours_mean"], took["floor_equal"])
    for name in ("flower", "nvflare", "pfl"):
        if name in took:
            found |= {
                f"{name}_to_ours_{way}": _ratio(took[name], took[f"ours_{way}"])
                for way in ("mean", "declared")
            }
    return found


def floor(changes: Sequence[Change], weights: Sequence[float]) -> list[NDArray[np.float32]]:
    """The weighted mean of each matrix."""
    shares = [np.float32(weight / sum(weights)) for weight in weights]
    means = []
    for name, like in changes[0].tensors.items():
        total, scaled = np.empty_like(like), np.empty_like(like)
        np.multiply(like, shares[0], out=total)
        for found, share in zip(changes[1:], shares[1:], strict=True):
            np.multiply(found.tensors[name], share, out=scaled)
            total += scaled
        means.append(total)
    return means


def floor_equal(changes: Sequence[Change]) -> list[NDArray[np.float32]]:
    """The mean of each matrix."""
    share = np.float32(1 / len(changes))
    means = []
    for name, like in changes[0].tensors.items():
        total = like + changes[1].tensors[name]
        for found in changes[2:]:
            total += found.tensors[name]
        total *= share
        means.append(total)
    return means


def _ours(size: Size, releases: Sequence[Contribution], recipe: Recipe) -> Callable[[], float]:
    before = start(size)
    return lambda: seconds(lambda: aggregate(gather(EXPERT, before, releases), recipe, PLAN))


def _taken_in(size: Size, folder: Path, key: PublicKey) -> None:
    names = [name_of(number) for number in range(size.hospitals)]
    lie = (folder / name for name in names)
    round_of = intake(size, MEAN, [key] * size.hospitals, lambda data: next(lie))
    for name in names:
        assert round_of.take(name, EXPERT, (folder / name).read_bytes()).fault is None
    round_of.aggregated(EXPERT)


def _kept(path: Path) -> Contribution:
    payload = path.read_bytes()[PAYLOAD:]
    told = Header.from_bytes(read_metadata(payload, len(payload)).encode())
    return keep_release(path, Release(**vars(told), tensors={}))


def _flower(changes: Sequence[Change], weights: Sequence[float]) -> Callable[[], float]:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1  # or no message can be made
    replies = []
    for number, (found, weight) in enumerate(zip(changes, weights, strict=True)):
        arrays = ArrayRecord({name: Array(value) for name, value in found.tensors.items()})
        asked = Message(RecordDict(), number + 1, MessageType.TRAIN)
        asked.metadata.__dict__["_message_id"] = str(number)
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": weight})})
        replies.append(Message(content, reply_to=asked))

    def work() -> None:
        mean, _ = FedAvg().aggregate_train(1, replies)
        assert mean is not None

    return lambda: seconds(work)


def _spread(took: Sequence[float]) -> str:
    return f"{median(took):.4f} ({min(took):.4f}-{max(took):.4f})"


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return round(median(a / b for a, b in zip(above, below, strict=True)), 3)


def main() -> None:
    """Command line."""
    parser = command.options(__doc__)
    parser.add_argument("--small", action="store_true", help="small matrices: proves that it runs")
    asked = parser.parse_args()
    if os.environ | ONE_THREAD != os.environ:  # numpy reads them when it is imported
        os.execve(
            sys.executable,
            [sys.executable, "-m", "bench.aggregation", *sys.argv[1:]],
            os.environ | ONE_THREAD,
        )
    command.show(measure(small=asked.small), asked.json)


if __name__ == "__main__":
    main()
