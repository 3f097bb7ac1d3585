"""The Python that vLLM is installed for, where the machine that runs the tests has one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def vllm_python() -> Path:
    """What FEDPATH_VLLM names; skips where it names nothing."""
    named = os.environ.get("FEDPATH_VLLM")
    if not named:
        pytest.skip("no vLLM here: set FEDPATH_VLLM to the Python of its environment (docs/howto/vllm.md)")
    return Path(named)
