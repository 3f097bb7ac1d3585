"""A hospital that has a segmenter says so in hospital.toml."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from client import worker
from client.check import findings
from client.cli import app
from client.evaluation.examples import examples
from client.evaluation.house import open_questions
from client.slides.slide import Slide
from client.tasks import segmentation
from client.tasks.overlap import MASK_SIDE
from client.tasks.sample import Box, Polygons, Region, Sample
from client.tasks.segmenter import RegionMasks, SegmenterError
from client.training.distributed import OpenInputs
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


def test_a_worker_segments_the_slides_of_the_round(
    house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a worker whose rewards look at the slides of a round before, while its inputs are of this one."""
    monkeypatch.setattr(segmentation.TASK, "box_masks", None)
    place = house()
    settings = place.home.folder / "hospital.toml"
    settings.write_text(settings.read_text() + f'segmenter = "{write_tiny_sam(tmp_path)}"\n')
    seen: list[object] = []

    def follow(load: object, open_inputs: OpenInputs, sampler: object) -> None:
        for name in ("a.svs", "b.svs"):
            open_inputs({name: Slide(name, tmp_path / name, 0.5, 64, 64, (1.0,))})
            masks = segmentation.TASK.box_masks
            assert isinstance(masks, RegionMasks)
            seen.append(set(masks._slides))

    monkeypatch.setattr(worker, "joined", lambda *meeting: nullcontext(SimpleNamespace(follow=follow)))
    worker.main(place.home, 1, 2)
    assert seen == [{"a.svs"}, {"b.svs"}]


def test_an_example_shows_what_the_segmenter_found(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an evaluation whose pictures show boxes where what is scored is the masks in them."""
    found = np.zeros((MASK_SIDE, MASK_SIDE), np.bool_)
    found[:, : MASK_SIDE // 2] = True
    slides = open_questions(house().home).slides
    said = Polygons((Box(100, 100, 900, 900),))
    sample = Sample("p", next(iter(slides)), Region(0, 0, 32, 32), "segmentation", "Outline it.", said)
    answer = segmentation.TASK.render(said)
    monkeypatch.setattr(segmentation.TASK, "box_masks", None)
    (plain,) = examples([(answer, sample)], slides)
    monkeypatch.setattr(segmentation.TASK, "box_masks", lambda sample, boxes: found)
    (tinted,) = examples([(answer, sample)], slides)
    assert plain.score == 1.0
    assert tinted.score < 1.0
    changed = (np.asarray(plain.picture) != np.asarray(tinted.picture)).any(axis=2)
    middle = changed.shape[1] // 2
    assert changed[:, : middle - 8].mean() > 0.9
    assert not changed[:, middle + 8 :].any()
