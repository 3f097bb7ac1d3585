from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.model import slide_features
from client.model.base import Base
from client.model.feature_grid import FeatureGrid
from client.model.inputs import InputLoader
from client.model.slide_features import SlideFeatures
from client.model.visual import Visual, encode_images
from client.slides.fingerprint import fingerprint
from client.slides.slide import Slide, open_slide
from client.slides.tiles import tissue_tiles
from client.tasks.sample import Label, Region, Sample
from tests.aperio import write_slide


@pytest.fixture
def slide(tmp_path: Path) -> Slide:
    """512 x 384 level-0 pixels at 0.5 microns, pink and purple all over."""
    random = np.random.default_rng(4)
    image = np.kron(random.integers(60, 200, (24, 32, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    image[..., 1] //= 2
    with open_slide(write_slide(tmp_path / "one.svs", image)) as reader:
        return reader.slide


def ask(region: Region | None) -> Sample:
    return Sample("p", "one.svs", region, "classification", "Which?", Label("fat"))


def same(a: Visual, b: Visual) -> bool:
    return torch.equal(a.tokens, b.tokens) and all(map(torch.equal, a.deepstack, b.deepstack))


def test_cached_slide_features_equal_recomputed_ones(
    tiny_base: Path, tmp_path: Path, slide: Slide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch a cache that loses precision or order, that is not used, or that serves another base or
    slide.
    """
    base = Base.load(tiny_base)
    first = SlideFeatures(base, tmp_path / "cache").load(slide)
    again = SlideFeatures(base, tmp_path / "elsewhere").load(slide)
    monkeypatch.setattr(slide_features, "encode_images", None)  # nothing is computed any more
    assert same(first, SlideFeatures(base, tmp_path / "cache").load(slide))
    assert same(first, again)
    slide.path.write_bytes(slide.path.read_bytes() + b"\0")
    with pytest.raises(TypeError):
        SlideFeatures(base, tmp_path / "cache").load(slide)


def test_a_slides_tokens_are_its_tiles_in_grid_order(tiny_base: Path, tmp_path: Path, slide: Slide) -> None:
    """Would catch tiles read at another scale than the base's, or tokens out of their places."""
    base = Base.load(tiny_base)
    tokens = SlideFeatures(base, tmp_path / "cache").load(slide).tokens
    with open_slide(slide.path) as reader:
        tiles = tissue_tiles(reader, 2.0, 64)
        images = [reader.read(t.x, t.y, t.width, t.height, 2.0) for t in tiles]
    assert len(tokens) == len(tiles) == 4
    for token, image in zip(tokens, images, strict=True):
        expected = encode_images(base, [image])[0].tokens.mean(0)
        torch.testing.assert_close(token, expected, atol=1e-5, rtol=1e-4)


def test_pooling_keeps_neighbours_together_and_the_bound() -> None:
    """Would catch more tokens than the base reads, neighbours that are none, or tokens in another order."""
    cells = torch.tensor([[r, c] for r in range(6) for c in range(8)])
    grid = FeatureGrid(cells.float() * 10, cells, cells[:0])
    assert grid.pooled(48) is grid.tokens
    expected = [[r * 20 + 5.0, c * 20 + 5.0] for r in range(3) for c in range(4)]
    assert grid.pooled(47).tolist() == expected
    assert grid.pooled(12).tolist() == expected
    assert len(grid.pooled(1)) == 1
    ragged = FeatureGrid(grid.tokens[3:], cells[3:], cells[:0])
    assert ragged.pooled(12)[0].tolist() == [10.0, 5.0]  # of the block, two tiles are there


def test_a_fingerprint_sees_a_changed_byte_and_a_changed_length(tmp_path: Path) -> None:
    """Would catch features of one slide served for another of the same name."""
    path = tmp_path / "x"
    prints = set()
    for data in (b"a" * 300_000, b"a" * 150_000 + b"b" + b"a" * 149_999, b"a" * 300_001, b""):
        path.write_bytes(data)
        prints.add(fingerprint(path))
    assert len(prints) == 4


def test_regions_are_encoded_once_and_in_the_samples_order(
    tiny_base: Path, tmp_path: Path, slide: Slide
) -> None:
    """Would catch inputs given to the wrong question, a non-square region squared, or one that is not at
    its place.
    """
    base = Base.load(tiny_base)
    loader = InputLoader({"one.svs": slide}, SlideFeatures(base, tmp_path / "cache"))
    wide, small, far = Region(0, 0, 256, 128), Region(128, 128, 128, 128), Region(256, 256, 128, 128)
    regions = [far, wide, None, small, far, wide]
    visuals = loader([ask(region) for region in regions])
    assert [v.grid for v in visuals] == [(2, 2), (1, 2), None, (2, 2), (2, 2), (1, 2)]
    assert visuals[0] is visuals[4]
    assert visuals[1] is visuals[5]
    with open_slide(slide.path) as reader:
        image = reader.read(256, 256, 128, 128, 1.0)
    torch.testing.assert_close(
        visuals[0].tokens, encode_images(base, [image])[0].tokens, atol=1e-5, rtol=1e-4
    )
    slide.path.unlink()
    assert loader([ask(wide)])[0] is visuals[1]  # kept: the slide is not opened again


def test_regions_are_encoded_once_for_all_processes(
    tiny_base: Path, tmp_path: Path, slide: Slide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch regions encoded again after a restart, and features of a changed slide, region or scale served."""
    base = Base.load(tiny_base)
    regions = [Region(0, 0, 256, 128), Region(128, 128, 128, 128)]
    asked = [ask(region) for region in regions]

    def loader(base: Base = base) -> InputLoader:
        return InputLoader({"one.svs": slide}, SlideFeatures(base, tmp_path / "cache"))

    first = loader()(asked)
    seen: list[int] = []

    def watch(base: Base, images: list[np.ndarray]) -> list[Visual]:
        seen.append(len(images))
        return encode_images(base, images)

    monkeypatch.setattr(slide_features, "encode_images", watch)
    assert all(map(same, first, loader()(asked)))
    loader()([*asked, ask(Region(1, 0, 256, 128))])
    loader(replace(base, scales=replace(base.scales, roi_mpp=2.0)))(asked)
    slide.path.write_bytes(slide.path.read_bytes() + b"\0")
    loader()(asked)
    assert seen == [1] * (0 + 1 + 2 + 2)  # each alone


def test_the_least_recently_used_inputs_leave_first(tiny_base: Path, tmp_path: Path, slide: Slide) -> None:
    """Would catch memory that grows with the cohort, and an eviction of what was just used."""
    base = Base.load(tiny_base)
    regions = [Region(i * 32, 0, 128, 128) for i in range(3)]
    features = SlideFeatures(base, tmp_path / "cache")
    one = InputLoader({"one.svs": slide}, features)([ask(regions[0])])[0].nbytes
    loader = InputLoader({"one.svs": slide}, features, memory=2 * one)
    first = loader([ask(regions[0])])[0]
    second = loader([ask(regions[1])])[0]
    assert loader([ask(regions[0])])[0] is first
    loader([ask(regions[2])])
    assert loader([ask(regions[0])])[0] is first
    assert loader([ask(regions[1])])[0] is not second
