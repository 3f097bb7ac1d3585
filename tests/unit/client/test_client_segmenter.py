"""A hospital that has a segmenter says so in hospital.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.check import findings
from client.cli import app
from client.tasks import segmentation
from client.tasks.segmenter import RegionMasks, SegmenterError
from tests.tiny_sam import write_tiny_sam
from tests.unit.client.conftest import House
from tests.unit.client.test_client_evaluate import received

MakeHouse = Callable[..., House]


def test_the_agent_takes_up_the_segmenter(
    house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a setting that is refused, or read and then forgotten; `check` loads it as the agent does."""
    monkeypatch.setattr(segmentation.TASK, "box_masks", None)
    place = house()
    settings = place.home.folder / "hospital.toml"
    settings.write_text(settings.read_text() + f'segmenter = "{tmp_path}"\n')
    assert any("segmenter folder" in problem.what for problem in findings(place.home).problems)
    with pytest.raises(SegmenterError, match="segmenter folder"):
        place.agent()
    assert segmentation.TASK.box_masks is None
    received(place)
    refused = CliRunner().invoke(app, ["evaluate", str(place.home.folder)])
    assert "segmenter folder" in refused.output  # in rewards and in metrics alike
    write_tiny_sam(tmp_path)
    assert not any("segmenter" in problem.what for problem in findings(place.home).problems)
    place.agent()
    assert isinstance(segmentation.TASK.box_masks, RegionMasks)
