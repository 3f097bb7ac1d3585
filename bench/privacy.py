"""What privacy costs, beside those who do it too.

    python -m bench.privacy [--json] [--quick]

Five things, each a ratio to a named peer or floor; CPU seconds of one thread, medians of interleaved repeats:

    step        a private training step against the same step without privacy, and Opacus, with hooks and ghost clipping
    accounting  epsilon of 40 different rounds, at once and round by round, against dp-accounting from the beginning
    ledger      verification of 10,000 entries, against their signatures alone
    noise       clip and noise of 44 MB, against numpy, Flower, pfl and Opacus; who of them is secure

Peers that need other dependencies get an environment under build/bench; who can't be installed is named as absent.
Minutes; `--quick` takes tiny shapes and proves only that it all runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bench import command

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Size:
    """How much is measured, how often."""

    step_repeats: int
    pld_rounds: int
    pld_repeats: int
    ledger_rounds: int
    tensors: int
    repeats: int


FULL = Size(step_repeats=4, pld_rounds=40, pld_repeats=2, ledger_rounds=2_500, tensors=336, repeats=5)
QUICK = Size(step_repeats=2, pld_rounds=4, pld_repeats=1, ledger_rounds=25, tensors=4, repeats=2)


def measure(*, quick: bool) -> dict[str, Mapping[str, object]]:
    """All figures, by section.  Progress goes to stderr."""
    os.environ.update(ONE_THREAD)  # the libraries read it as they load, so they are imported after it
    import torch

    from bench import privacy_books, privacy_noise, privacy_step

    torch.set_num_threads(1)
    size = QUICK if quick else FULL
    command.measuring("noise")
    noise, absent = privacy_noise.measure(size.tensors, size.repeats)
    command.measuring("ledger")
    ledger = privacy_books.ledger(size.ledger_rounds, size.repeats)
    command.measuring("accounting")
    accounting = privacy_books.accounting(size.pld_rounds, size.pld_repeats)
    command.measuring("step")
    step = privacy_step.measure(privacy_step.TINY if quick else privacy_step.SMOLLM_135M, size.step_repeats)
    return {
        "setting": {"quick": quick, "threads": 1, "unit": "CPU seconds", "torch": torch.__version__},
        "step": step,
        "accounting": accounting,
        "ledger": ledger,
        "noise": noise,
        "absent": absent,
    }


def _shown(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def main() -> None:
    """Command line."""
    asked = command.options(__doc__, "tiny shapes: proves that it runs").parse_args()
    command.show(measure(quick=asked.quick), asked.json, _shown)


if __name__ == "__main__":
    main()
