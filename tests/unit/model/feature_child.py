"""`fedpath-hospital features HOME --json` in a process that kills itself, SIGKILL, when batch number N comes to the tower."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import numpy as np
import torch

from client.cli import app
from client.model import slide_features
from client.model.base import Base
from client.model.visual import Visual, encode_images


def main(home: str, last: int) -> None:
    batches = 0

    def encode(base: Base, pictures: Sequence[np.ndarray]) -> list[Visual]:
        nonlocal batches
        batches += 1
        if batches == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode_images(base, pictures)

    torch.set_num_threads(1)
    slide_features.encode_images = encode  # type: ignore[assignment]
    app(["features", home, "--json"])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
