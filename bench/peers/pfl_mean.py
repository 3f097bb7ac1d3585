"""pfl's SumAggregator and average; run by pfl's own environment: `pfl_mean.py TENSORS ROWS COLUMNS HOSPITALS`.

For every line on stdin one round of weighted statistics is added up and averaged, and the CPU seconds are printed.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from pfl.aggregate.base import SumAggregator
from pfl.internal.ops import numpy_ops
from pfl.internal.ops.selector import set_framework_module
from pfl.stats import MappedVectorStatistics


def main() -> None:
    """Answer until stdin ends."""
    tensors, rows, columns, hospitals = map(int, sys.argv[1:])
    set_framework_module(numpy_ops)
    found = []
    for number in range(hospitals):
        arrays = np.random.default_rng(number).standard_normal((tensors, rows, columns), np.float32)
        values = {f"t{index}": array.copy() for index, array in enumerate(arrays)}
        found.append(MappedVectorStatistics(values, weight=1.0 + number / 10))
    aggregator = SumAggregator()
    for _ in sys.stdin:
        before = time.process_time()
        total = None
        for one in found:  # already multiplied by its weight, as pfl's clients send it
            total = aggregator.accumulate(accumulated=total, user_stats=one)
        total.average()
        print(time.process_time() - before, flush=True)


if __name__ == "__main__":
    main()
