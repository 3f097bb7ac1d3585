"""What a hospital's machine must have besides `check_host`: an accelerator, a sound ledger, a way to the SuperLink.

Each look says what it found, and what to do where it is not enough.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import torch

from client.check_host import gone_back
from client.findings import Finding
from client.home import Home
from client.reach import superlink_fault
from client.training.memory import gibibytes
from client.training.vllm import SERVED
from privacy import keys
from privacy.ledger.store import Ledger

_VLLM = "docs/howto/vllm.md says how to install it; without this line the agent samples rollouts itself"
_PATIENCE_S = 120


def gpu(home: Home) -> Iterator[Finding]:
    """Which accelerators training will use."""
    if not torch.cuda.is_available():
        advice = "enough for the embedded base; for a larger one give the agent a GPU, and check its driver with nvidia-smi"
        yield Finding("gpu", "no CUDA device can be seen here: training takes the CPU", advice=advice)
        return
    for number in range(torch.cuda.device_count()):
        seen = torch.cuda.get_device_properties(number)
        yield Finding("gpu", f"cuda:{number} is a {seen.name} with {gibibytes(seen.total_memory)}")


def vllm(home: Home) -> Iterator[Finding]:
    """Whether the vLLM that the home names is one that is served."""
    python = home.settings.vllm
    if python is None:
        return
    where = "hospital.toml"
    try:
        asked = [str(python), "-I", "-c", "import vllm; print(vllm.__version__)"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        what = f"vllm = {str(python)!r} is no Python that has vLLM: {error}"
        yield Finding("vllm", what, where, _VLLM, grave=True)
        return
    version = told.stdout.strip().rpartition("\n")[2]
    if version.startswith(f"{SERVED}."):
        yield Finding("vllm", f"vLLM {version} will sample rollouts")
    else:
        what = f"vLLM {version} is installed there, and {SERVED} is served"
        yield Finding("vllm", what, where, _VLLM, grave=True)


def ledger(home: Home) -> Iterator[Finding]:
    """Whether all of it verifies under this hospital's key, what is left of the budget, and whether the clock has gone back.

    Raises `LedgerError`.
    """
    book, policy = Ledger(home.ledger, keys.load(home.release_key)), home.policy
    last = book.entries()[-1:]
    yield from gone_back(last[0] if last else None)
    spent, budget = book.epsilon(policy.delta), policy.epsilon_budget
    advice = "" if spent < budget else "no further round is answered under this policy"
    yield Finding(
        "ledger",
        f"its {len(last) and last[0].sequence} entries verify; epsilon {spent:.2f} of {budget:g} is spent",
        advice=advice,
    )


def superlink(home: Home) -> Iterator[Finding]:
    """Whether the consortium's SuperLink answers here with its own certificate; nothing is asked of it.

    Only another's certificate is grave: what does not answer now may be down, or out of an agent's reach as it should be.
    """
    address = home.kit.superlink
    fault = superlink_fault(home)
    if fault is None:
        yield Finding("superlink", f"{address} has the consortium's certificate")
    elif fault.impostor:
        yield Finding("superlink", fault.what, advice=fault.advice, grave=True)
    else:
        advice = "where the courier runs, ask with `fedpath-hospital reach`; an agent is to have no network"
        yield Finding("superlink", f"not reached from here: {fault.what}", advice=advice)
