"""A base whose linear layers are 4-bit (bitsandbytes), against its twin: the same model with what those weights stand for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

from client.model import adapters
from client.model.base import Base
from client.model.errors import BaseModelError
from client.model.experts import Experts
from client.model.forward import Query, answer_logprobs, read
from client.tasks.prompt import direct
from client.tasks.sample import Sample
from client.training import rollout, sft
from client.training.batch import company, items
from client.training.round import train_round
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, norm, plan, samples_of

FOUR_BIT = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "quant_method": "bitsandbytes"}


@pytest.fixture(
    scope="module", params=[torch.float32, torch.bfloat16], ids=["saved-float32", "saved-bfloat16"]
)
def folder(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base, quantised as docs/base.md says, what is not quantised saved in either type."""
    place = tmp_path_factory.mktemp("four-bit") / "base"
    shutil.copytree(tiny_base, place)
    (place / "model.safetensors").unlink()
    how = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
    AutoModelForImageTextToText.from_pretrained(
        tiny_base, quantization_config=how, dtype=request.param
    ).save_pretrained(place)
    return place


@pytest.fixture
def pair(folder: Path, tiny_base: Path) -> tuple[Experts, Experts]:
    """The same experts on the 4-bit base and on its twin, which has plain layers."""
    small, twin = Base.load(folder), Base.load(tiny_base)
    plain = dict(twin.model.named_parameters())
    found = 0
    for name, parameter in small.model.named_parameters():
        packed = getattr(parameter, "quant_state", None)
        found += packed is not None
        plain[name].data = parameter.data if packed is None else dequantize_4bit(parameter.data, packed)
    assert found >= 14, "the decoder's layers are 4-bit"
    twin = replace(twin, hash=small.hash, projector=small.projector)  # A and projector follow from the hash
    return fresh(small), fresh(twin)


def drawn() -> list[list[Sample]]:
    return [samples_of(patient) for patient in ("p", "q", "r")]


def test_answers_and_rollouts_are_the_twins(pair: tuple[Experts, Experts]) -> None:
    """Catches experts that are cast to whole numbers beside 4-bit weights, and experts merged into them."""
    said = []
    for experts in pair:
        samples = drawn()[0][:3]
        visuals = Inputs(experts.base)(samples)
        queries = [
            Query(experts.prompts.prompt(s.question, v), v) for s, v in zip(samples, visuals, strict=True)
        ]
        with experts.only("roi", "vqa"):
            logprobs, _ = answer_logprobs(experts, read(experts, queries), [[3, 4, 5]] * 3)
            said.append((logprobs.detach(), rollout.greedy(experts, queries, 8, experts.prompts.stop())))
            with experts.merged():
                merged = {layer.whole is not None for layer in experts.layers}
        assert merged == {experts is pair[1]}
    assert torch.allclose(said[0][0], said[1][0], atol=1e-4)
    assert said[0][1] == said[1][1]


def test_each_patients_gradient_is_the_twins(pair: tuple[Experts, Experts]) -> None:
    """Catches a backward pass through the packed bytes, or through another precision."""
    found = [
        sft.gradients(draw_of(experts, SFT, drawn(), [1, 2, 3], Inputs(experts.base))) for experts in pair
    ]
    apart = {key: found[0][key] - found[1][key] for key in found[0]}
    assert norm(apart) < 1e-4 * norm(found[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_whole_base_computes_in_one_type(folder: Path, dtype: torch.dtype) -> None:
    """Catches layers of few bits in a base that says float32: patients would share its passes (ADR 16), and the sum would
    move by more than the joiner. And a base of two types, which fails at its first image.
    """
    base = Base.load(folder)
    adapters.compute_in(base.model, dtype)
    layers = [module for module in base.model.modules() if adapters.is_four_bit(module)]
    assert len(layers) >= 14
    assert {layer.compute_dtype for layer in layers} == {dtype}
    assert {layer.weight.quant_state.dtype for layer in layers} == {dtype}
    assert {p.dtype for p in base.model.parameters() if p.is_floating_point()} == {dtype}
    (sample,) = samples_of("p")[:1]
    (item,) = items([[sample]], Inputs(base), fresh(base).prompts, direct)
    assert company(base, item) == (None if dtype == torch.float32 else item.patient)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_round_trains_the_experts_and_leaves_the_weights(pair: tuple[Experts, Experts], stage: str) -> None:
    """Catches 4-bit weights that training or sampling changes."""
    experts, trained = pair[0], SFT if stage == "sft" else GRPO
    before = {
        name: value.clone() for name, value in experts.base.model.state_dict().items() if "lora" not in name
    }
    more = {} if stage == "sft" else {"rollouts": 2, "kl_beta": 0.04, "max_answer_tokens": 6}
    asked = plan(experts.base.hash, stage, Mechanism(1.0, 1.0, 1.0, 1, 2), trained, **more)
    samples = [sample for own in drawn() for sample in own]
    deltas = train_round(
        experts, trained, samples, Inputs(experts.base), asked, 3, SeededRandom(0), lambda step, of: None
    )
    assert set(deltas) == set(trained)
    for name, value in experts.base.model.state_dict().items():
        assert name not in before or value.equal(before[name]), name


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantised by 'gptq'"),
        ({**FOUR_BIT, "load_in_4bit": False}, "quantised"),
        ({**FOUR_BIT, "bnb_4bit_quant_storage": "bfloat16"}, "stored as 'bfloat16'"),
    ],
    ids=["gptq", "8-bit", "stored as floats"],
)
def test_other_quantised_forms_are_refused(
    tiny_base: Path, tmp_path: Path, form: dict[str, object], words: str
) -> None:
    """Catches a base that loads as something that experts were never tried on."""
    quantised(tiny_base, tmp_path / "base", form)
    with pytest.raises(BaseModelError, match=words):
        Base.load(tmp_path / "base")


def test_without_bitsandbytes_the_error_says_what_to_install(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback out of transformers."""
    quantised(tiny_base, tmp_path / "base", FOUR_BIT)
    monkeypatch.setattr("client.model.base.find_spec", lambda name: None)
    with pytest.raises(BaseModelError, match="pip install bitsandbytes"):
        Base.load(tmp_path / "base")


def quantised(base: Path, place: Path, form: dict[str, object]) -> None:
    shutil.copytree(base, place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "quantization_config": form}))
