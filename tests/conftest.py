from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_base import write_tiny_base

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with random weights."""
    return write_tiny_base(tmp_path_factory.mktemp("base"))
