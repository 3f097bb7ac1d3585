"""A pathology encoder for whole slides: models of the published families' own classes, tiny, with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoImageProcessor,
    BertConfig,
    BertModel,
    BitImageProcessorPil,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from client.model.base import Base
from client.model.errors import BaseModelError
from client.model.slide_encoder import SlideEncoder
from client.model.slide_features import SlideFeatures
from client.slides.slide import open_slide
from client.training import memory
from client.training.round import train_round
from privacy.base_folder import SLIDE_ENCODER, folder_hash
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.aperio import picture, write_slide
from tests.live_memory import LiveMemory
from tests.model_cases import fresh, plan, samples_of
from tests.tiny_base import write_tiny_base

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def noise(count: int, side: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def vit(folder: Path) -> None:
    ViTModel(ViTConfig(**SIZES, intermediate_size=96)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2)).save_pretrained(folder)
    processor = BitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)


@pytest.fixture(params=[vit, dinov2], ids=["vit", "dinov2"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A base folder with an encoder of slides in it."""
    folder = write_tiny_base(tmp_path / "base")
    torch.manual_seed(5)
    request.param(folder / SLIDE_ENCODER)
    return folder


def test_a_feature_is_the_models_own(base: Path) -> None:
    """Catches pixels that the model's own processor would not make, and another output than its pooled one."""
    pictures = noise(3, 48)
    encoder = SlideEncoder.load(base / SLIDE_ENCODER, "cpu", torch.float32)
    found = encoder.encode(pictures)
    assert found.shape == (3, encoder.width) == (3, 48)
    kind = (
        ViTModel
        if "vit" in json.loads((base / SLIDE_ENCODER / "config.json").read_text())["model_type"]
        else Dinov2Model
    )
    processor = AutoImageProcessor.from_pretrained(base / SLIDE_ENCODER, backend="pil")
    with torch.no_grad():
        theirs = kind.from_pretrained(base / SLIDE_ENCODER).eval()(**processor(pictures, return_tensors="pt"))
    torch.testing.assert_close(found, theirs.pooler_output, atol=1e-5, rtol=1e-5)
    assert encoder.encode([]).shape == (0, 48)


def test_weights_without_a_pooler_give_the_first_token(tmp_path: Path) -> None:
    """Catches features out of a pooler whose weights were drawn at loading: other ones at every start."""
    ViTModel(ViTConfig(**SIZES, intermediate_size=96), add_pooling_layer=False).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    pictures = noise(1, 32)
    once, again = (SlideEncoder.load(tmp_path, "cpu", torch.float32).encode(pictures) for _ in range(2))
    assert torch.equal(once, again)


def test_a_slide_is_encoded_by_it_read_by_the_decoder_and_trains(base: Path, tmp_path: Path) -> None:
    """Catches tiles that still go through the base's tower, features that don't fit the projector, a projector that
    loses them, and a round that can't be trained on them."""
    path = write_slide(tmp_path / "s.svs", picture(256, 192), mpp=1.0)
    with open_slide(path) as reader:
        slide = reader.slide
    loaded = Base.load(base)
    visual = SlideFeatures(loaded, tmp_path / "features").load(slide)
    assert visual.tokens.shape[1] == 48 != loaded.width
    assert torch.equal(visual.tokens, SlideFeatures(loaded, tmp_path / "features").load(slide).tokens)
    experts = fresh(loaded)
    assert experts.projector(visual.tokens[None]).shape == (1, len(visual.tokens), loaded.width)
    samples = [s for s in samples_of("a") if s.region is None]
    asked = plan(loaded.hash, "sft", Mechanism(1.0, 0.0, 1.0, 2, 1), ["scale/wsi"])
    deltas = train_round(
        experts,
        ["scale/wsi"],
        samples,
        lambda s: [visual] * len(s),
        asked,
        1,
        SeededRandom(0),
        lambda done, of: None,
    )
    assert all(value.any() for value in deltas["scale/wsi"].tensors.values())


def test_another_encoder_is_another_base(base: Path) -> None:
    """Catches hospitals that train together on features of two encoders."""
    before = folder_hash(base)
    config = base / SLIDE_ENCODER / "config.json"
    config.write_text(config.read_text() + " ")
    assert folder_hash(base) != before


def bert(folder: Path) -> None:
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)


def cut(folder: Path) -> None:
    vit(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(lambda folder: folder.mkdir(), "can't be loaded"), (bert, "no model of images"), (cut, "not in it")],
)
def test_what_is_no_encoder_is_refused(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    """Catches a library's own exception, and features of layers that were drawn at random."""
    folder = write_tiny_base(tmp_path / "base")
    spoil(folder / SLIDE_ENCODER)
    with pytest.raises(BaseModelError, match=words):
        Base.load(folder)


def test_the_planner_knows_what_encoding_needs(base: Path) -> None:
    """Catches a pass of the largest regions, or of tiles through the encoder, that takes more than was reckoned, and a
    reckoning that is far above it."""
    loaded = Base.load(base)
    pictures = noise(32, 64)
    assert loaded.slide_encoder is not None
    with LiveMemory() as live:
        loaded.slide_encoder.encode(pictures)
    tiles = memory._tiles(loaded.slide_encoder.model.config, 4)
    assert live.peak <= tiles <= 8 * live.peak
    assert memory.Decoder.of(loaded).encoding >= tiles
    assert memory.weights(loaded) > memory.resident(loaded.model.parameters())
