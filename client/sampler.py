"""Who samples a home's rollouts: vLLM, where `hospital.toml` names one, or the agent itself."""

from __future__ import annotations

from collections.abc import Callable

import torch

from client.errors import HomeError
from client.home import Home
from client.network import raise_loopback
from client.training import memory
from client.training.vllm import SHARE, VllmSampler


def vllm_of(home: Home, rank: int, share: Callable[[], float | None]) -> VllmSampler | None:
    """The home's vLLM, not yet started, for this process of the agent; None where it has none.

    `share` says what the policy gives of a GPU's memory. Raises `HomeError` where vLLM can't have the loopback through which
    its parts would reach each other: it insists, even where it has one part only.
    """
    settings = home.settings
    if settings.vllm is None:
        return None
    try:
        raise_loopback()
    except OSError as error:
        raise HomeError(
            f"{home.folder}: vLLM needs a loopback, and there is none ({error.strerror}): run the agent as root, or leave "
            "vllm out of hospital.toml"
        ) from None
    return VllmSampler(settings.vllm, settings.base, home.vllm(rank), share)


def settle(
    home: Home, device: torch.device, vllm: VllmSampler | None, share: float | None, sampling: bool
) -> float | None:
    """Give this process its own share of a GPU's memory for what comes now, and end a vLLM that has nothing to sample in it;
    returns the share.
    """
    if vllm is not None and not sampling:
        vllm.close()
    own = own_share(home, share, sampling)
    memory.cap(device, own)
    return own


def own_share(home: Home, share: float | None, sampling: bool) -> float | None:
    """What of a GPU's memory this process may take, where the policy gives `share`: vLLM's part is not its own while there are
    rollouts to sample.
    """
    if home.settings.vllm is None or not sampling:
        return share
    return (1 - SHARE) * (1.0 if share is None else share)
