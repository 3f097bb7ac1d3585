"""NVFlare's InTimeAccumulateWeightedAggregator; run by its own environment: `nvflare_mean.py TENSORS ROWS COLUMNS HOSPITALS`.

For every line on stdin one round is accepted and aggregated, and the CPU seconds are printed.
"""

from __future__ import annotations

import logging
import sys
import time

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import (
    InTimeAccumulateWeightedAggregator,
)
from nvflare.app_common.app_constant import AppConstants


def main() -> None:
    """Answer until stdin ends."""
    tensors, rows, columns, hospitals = map(int, sys.argv[1:])
    logging.disable(logging.CRITICAL)
    replies = []
    for number in range(hospitals):
        arrays = np.random.default_rng(number).standard_normal((tensors, rows, columns), np.float32)
        values = {f"t{index}": array.copy() for index, array in enumerate(arrays)}
        reply = DXO(DataKind.WEIGHT_DIFF, values, {MetaKey.NUM_STEPS_CURRENT_ROUND: 1}).to_shareable()
        reply.set_peer_props({ReservedKey.IDENTITY_NAME: f"h{number}"})
        reply.add_cookie(AppConstants.CONTRIBUTION_ROUND, 1)
        replies.append(reply)
    context = FLContext()
    context.set_prop(AppConstants.CURRENT_ROUND, 1, private=True, sticky=False)
    weights = {f"h{number}": 1.0 + number / 10 for number in range(hospitals)}
    for _ in sys.stdin:
        aggregator = InTimeAccumulateWeightedAggregator(aggregation_weights=weights)
        aggregator.handle_event(EventType.START_RUN, context)
        before = time.process_time()
        assert all(aggregator.accept(reply, context) for reply in replies)
        aggregator.aggregate(context)
        print(time.process_time() - before, flush=True)


if __name__ == "__main__":
    main()
