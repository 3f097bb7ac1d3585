from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]


@pytest.fixture
def shared_real() -> Path:
    """The folder of real labelled images that lies beside the project on some machines; skips where it is
    not there."""
    folder = Path(os.environ.get("FEDPATH_SHARED", _ROOT.parent / "shared")) / "real" / "dsb2018_stained"
    if not folder.is_dir():
        pytest.skip(f"no real labels here ({folder}); set FEDPATH_SHARED to the folder that holds `real`")
    return folder
