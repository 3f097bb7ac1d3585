"""A base whose linear layers are 4-bit (bitsandbytes), against its twin: the same model with what those weights stand for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from client.model.base import Base
from client.model.errors import BaseModelError
from client.model.experts import Experts
from client.model.forward import Query, answer_logprobs, read
from client.tasks.sample import Sample
from client.training import rollout, sft
from client.training.batch import Performance
from client.training.round import train_round
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import GRPO, SFT, Inputs, fresh, norm, plan, samples_of

FOUR_BIT = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "quant_method": "bitsandbytes"}


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base, quantised as docs/base.md says."""
    pytest.importorskip("bitsandbytes", reason="4-bit bases need bitsandbytes")
    from transformers import BitsAndBytesConfig

    place = tmp_path_factory.mktemp("four-bit") / "base"
    shutil.copytree(tiny_base, place)
    (place / "model.safetensors").unlink()
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")  # type: ignore[no-untyped-call]
    AutoModelForImageTextToText.from_pretrained(tiny_base, quantization_config=how).save_pretrained(place)
    return place


@pytest.fixture
def pair(folder: Path, tiny_base: Path) -> tuple[Experts, Experts]:
    """The same experts on the 4-bit base and on its twin, which has plain layers."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    small, twin = Base.load(folder), Base.load(tiny_base)
    plain = dict(twin.model.named_modules())
    found = 0
    for name, module in small.model.named_modules():
        if isinstance(module, Linear4bit):
            plain[name].weight.data = dequantize_4bit(module.weight.data, module.weight.quant_state).float()
            found += 1
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
        visuals = Inputs(pair[1].base)(samples)
        queries = [
            Query(experts.prompts.prompt(s.question, v), v) for s, v in zip(samples, visuals, strict=True)
        ]
        with experts.only("roi", "vqa"):
            logprobs, _ = answer_logprobs(experts, read(experts, queries), [[3, 4, 5]] * 3)
            said.append((logprobs.detach(), rollout.greedy(experts, queries, 8, experts.prompts.end)))
            with experts.merged():
                merged = {layer.whole is not None for layer in experts.layers}
        assert merged == {experts is pair[1]}
    assert torch.allclose(said[0][0], said[1][0], atol=1e-4)
    assert said[0][1] == said[1][1]


def test_each_patients_gradient_is_the_twins(pair: tuple[Experts, Experts]) -> None:
    """Catches a backward pass through the packed bytes, or through another precision."""
    found = []
    for experts in pair:
        parameters = experts.trainable(SFT)
        inputs = Inputs(pair[1].base)
        found.append(sft.gradients(experts, parameters, drawn(), [1, 2, 3], inputs, Performance()))
    apart = {key: found[0][key] - found[1][key] for key in found[0]}
    assert norm(apart) < 1e-3 * norm(found[1])


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
        experts, trained, samples, Inputs(pair[1].base), asked, 3, SeededRandom(0), lambda step, of: None
    )
    assert set(deltas) == set(trained)
    for name, value in experts.base.model.state_dict().items():
        assert name not in before or value.equal(before[name]), name


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantised by 'gptq'"),
        ({**FOUR_BIT, "load_in_4bit": False}, "quantised"),
    ],
    ids=["gptq", "8-bit"],
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
