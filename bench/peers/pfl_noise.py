"""pfl's clip and Gaussian noise of one update; run by pfl's own environment: `pfl_noise.py BACKEND TENSORS ROWS COLUMNS`.

For every line on stdin, one update is clipped and noised, and the CPU seconds are printed.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from pfl.internal.ops import numpy_ops, pytorch_ops
from pfl.internal.ops.selector import set_framework_module
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.stats import MappedVectorStatistics


def main() -> None:
    """Answer until stdin ends."""
    backend = sys.argv[1]
    tensors, rows, columns = map(int, sys.argv[2:])
    torch.set_num_threads(1)
    set_framework_module({"numpy": numpy_ops, "torch": pytorch_ops}[backend])
    arrays = np.random.default_rng(0).standard_normal((tensors, rows, columns), np.float32)
    update = {f"t{i}": torch.from_numpy(a) if backend == "torch" else a for i, a in enumerate(arrays)}
    mechanism = GaussianMechanism(clipping_bound=1.0, relative_noise_stddev=1.0)
    for _ in sys.stdin:
        statistics = MappedVectorStatistics(dict(update))
        before = time.process_time()
        clipped, _ = mechanism.constrain_sensitivity(statistics)
        mechanism.add_noise(clipped, cohort_size=1)
        print(time.process_time() - before, flush=True)


if __name__ == "__main__":
    main()
