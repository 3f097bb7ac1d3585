"""Clip and noise of one LoRA update, 44 MB of float32 in 336 tensors: ours, Flower's, pfl's, Opacus', and a floor.

    floor          numpy: one norm, one multiplication, one np.random.normal, on one flat array
    ours           privacy.clip and privacy.noise: float64, AES-256 keystream, each deviate a sum of four
    flower         its clip_inputs_inplace and add_gaussian_noise_inplace, the work of its DP strategies and mods
    opacus         DPOptimizer.clip_and_accumulate, add_noise, scale_grad, float32
    opacus_secure  the same in its secure mode: each deviate a sum of four, still from torch's Mersenne twister
    pfl_numpy      pfl's GaussianMechanism on its numpy backend
    pfl_torch      the same on its torch backend, float32

A *secure source* can't be predicted from what it gave before; *hardened* noise withstands who knows which floating-
point values the sampler can give (Holohan and Braghin, arXiv 2107.10138).  Only ours is both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.supercore.differential_privacy import add_gaussian_noise_inplace, clip_inputs_inplace
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizer
from torch import nn

from bench.ledger import seconds
from bench.peers.environment import Peer, PeerError, environment
from bench.privacy_timing import Figures, figures, medians
from privacy.clip import clip_and_sum
from privacy.mechanism import Mechanism
from privacy.noise import add_noise
from privacy.randomness import SecureRandom

ROWS, COLUMNS = 2048, 16
CLIP_NORM = 1.0
NOISE_MULTIPLIER = 1.0
EXPECTED = 10.0

# pfl pins another dp-accounting than this project; numpy, scipy and torch are the project's own on both sides.
PFL = ("pfl==0.6.0", "dp-accounting==0.5.1", "prv-accountant==0.2.0", "multiprocess==0.70.19", "dill==0.4.1")

SECURE_SOURCE = ("ours",)
HARDENED = ("ours", "opacus_secure")


def measure(tensors: int, repeats: int) -> tuple[Figures, dict[str, str]]:
    """CPU seconds and ratios to the floor, and the peers that are absent with the reason."""
    arrays = list(np.random.default_rng(0).standard_normal((tensors, ROWS, COLUMNS), np.float32))
    works: dict[str, Callable[[], float]] = {
        "floor": _floor(np.concatenate([a.ravel() for a in arrays])),
        "ours": _ours(arrays),
        "flower": _flower(arrays),
        "opacus": _opacus(arrays, secure=False),
        "opacus_secure": _opacus(arrays, secure=True),
    }
    absent: dict[str, str] = {}
    with ExitStack() as peers:
        for backend in ("numpy", "torch"):
            try:
                peer = Peer(environment("pfl", PFL), Path("pfl_noise.py"), backend, tensors, ROWS, COLUMNS)
                peers.enter_context(peer)
                works[f"pfl_{backend}"] = peer.seconds
            except PeerError as error:
                absent[f"pfl_{backend}"] = str(error)
        took = medians(works, repeats)
    found = {
        "megabytes": round(sum(a.nbytes for a in arrays) / 1e6, 1),
        **figures(took, "floor"),
        "ours_ns_a_value": round(1e9 * took["ours"] / (tensors * ROWS * COLUMNS), 1),
        "secure_source": [name for name in took if name in SECURE_SOURCE],
        "hardened": [name for name in took if name in HARDENED],
    }
    return found, absent


def _floor(flat: NDArray[np.float32]) -> Callable[[], float]:
    def work() -> None:
        clipped = flat * np.float32(min(1.0, CLIP_NORM / float(np.linalg.norm(flat))))
        clipped += np.random.normal(0.0, NOISE_MULTIPLIER * CLIP_NORM, len(flat))

    return lambda: seconds(work)


def _ours(arrays: Sequence[NDArray[np.float32]]) -> Callable[[], float]:
    gradients = {f"t{i:03}": torch.from_numpy(a)[None] for i, a in enumerate(arrays)}
    mechanism = Mechanism(CLIP_NORM, NOISE_MULTIPLIER, 0.1, 1, 1)
    random = SecureRandom()
    return lambda: seconds(lambda: add_noise(clip_and_sum(gradients, CLIP_NORM), mechanism, EXPECTED, random))


def _flower(arrays: Sequence[NDArray[np.float32]]) -> Callable[[], float]:
    def once() -> float:
        own = [a.copy() for a in arrays]  # it works in place
        return seconds(
            lambda: (
                clip_inputs_inplace(own, CLIP_NORM),
                add_gaussian_noise_inplace(own, NOISE_MULTIPLIER * CLIP_NORM),
            )
        )

    return once


def _opacus(arrays: Sequence[NDArray[np.float32]], *, secure: bool) -> Callable[[], float]:
    parameters: list[Any] = [nn.Parameter(torch.zeros(a.shape)) for a in arrays]
    optimizer = DPOptimizer(
        torch.optim.SGD(parameters, lr=1.0),
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=int(EXPECTED),
        secure_mode=secure,
    )

    def once() -> float:
        optimizer.zero_grad()
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.grad_sample = torch.from_numpy(array)[None]

        def work() -> None:
            optimizer.clip_and_accumulate()
            optimizer.add_noise()
            optimizer.scale_grad()

        return seconds(work)

    return once
