from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from client.model.adapters import remove
from client.model.base import Base
from client.model.errors import BaseModelError, ExpertError
from client.model.experts import attach
from client.model.gates import Gates
from privacy.base_folder import folder_hash
from privacy.experts import EXPERTS, ROUTER, ExpertForm, same_form
from tests.model_cases import fresh


def test_a_stack_is_the_base_plus_the_sum_of_the_deltas(tiny_base: Path) -> None:
    """Would catch experts mixed factor by factor, a wrong scale, or an expert that acts while it is off."""
    experts = fresh(Base.load(tiny_base))
    for scale, task in ((None, None), ("roi", None), (None, "vqa"), ("wsi", "classification")):
        experts.activate(scale, task)
        for layer in experts.layers:
            x = torch.randn(2, 3, layer.base_layer.in_features)
            weight = layer.base_layer.weight.clone()
            for name in experts.active:
                a, b = layer.factors(name)
                weight += 8.0 / 4 * b @ a
            torch.testing.assert_close(layer(x), x @ weight.T, atol=1e-6, rtol=1e-5)


def test_merging_changes_nothing_but_speed(tiny_base: Path) -> None:
    """Would catch a merge that leaves a trace in the base's weights, or that outlives its block."""
    experts = fresh(Base.load(tiny_base))
    experts.activate("roi", "vqa")
    layer = experts.layers[3]
    x, before = torch.randn(4, layer.base_layer.in_features), layer.base_layer.weight.clone()
    with experts.merged():
        inside = layer(x)
    torch.testing.assert_close(inside, layer(x), atol=1e-6, rtol=1e-5)
    assert torch.equal(layer.base_layer.weight, before)
    assert layer.whole is None


def test_what_is_held_serves_nobody_else(tiny_base: Path) -> None:
    """Would catch other experts, or other gates, answered for by those that are held; and gates of experts that are held
    apart, which a batch may have of its own, refused."""
    experts = fresh(Base.load(tiny_base))

    def gates(*rows: tuple[float, float]) -> AbstractContextManager[None]:
        return experts.gated("roi", Gates(("detection", "vqa"), torch.tensor(rows)))

    with experts.only("roi", None), experts.merged():
        for other in (experts.only("roi", "detection"), experts.only(None, None), gates((1.0, 0.0))):
            with pytest.raises(ExpertError, match="experts scale/roi are held"), other:
                pass
        assert experts.active == ("scale/roi",)
        with experts.only("roi", None), experts.merged():
            pass
    with experts.only("wsi", "vqa"), experts.merged():
        pass
    with gates((0.25, 1.0), (0.25, 0.5)), experts.merged():
        with gates((0.25, 0.75)):
            pass
        with pytest.raises(ExpertError, match="other gates"), gates((0.3, 1.0)):
            pass
    assert experts.active == ()


def test_attaching_leaves_the_base_byte_for_byte(tiny_base: Path) -> None:
    """Would catch experts that alter the frozen base, or that stay behind after a campaign."""
    base, untouched = Base.load(tiny_base), Base.load(tiny_base)
    fresh(base)
    fresh(base)  # a second campaign on the same base
    remove(base.language_model)
    ours, theirs = base.model.state_dict(), untouched.model.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_lora_a_is_a_public_function_of_base_expert_layer_and_seed(tiny_base: Path) -> None:
    """Would catch hospitals whose frozen A differ: their averaged B would mean nothing."""
    base = Base.load(tiny_base)
    first = attach(base, same_form(EXPERTS, 4, 8.0), seed=7).layers[0].factors("scale/roi")[0].clone()
    torch.manual_seed(99)
    experts = attach(base, same_form(["scale/roi", "scale/wsi"], 4, 8.0), seed=7)
    assert torch.equal(first, experts.layers[0].factors("scale/roi")[0])
    assert not torch.equal(first, experts.layers[0].factors("scale/wsi")[0])
    assert not torch.equal(first, experts.layers[1].factors("scale/roi")[0])
    other = attach(base, same_form(EXPERTS, 4, 8.0), seed=8)
    assert not torch.equal(first, other.layers[0].factors("scale/roi")[0])
    assert not any(p.requires_grad for p in base.model.parameters())


def test_experts_travel_there_and_back(tiny_base: Path) -> None:
    """Would catch a tensor that is trained but not exported, or lost on the way in."""
    experts = fresh(Base.load(tiny_base))
    for name in EXPERTS:
        state = experts.export(name)
        assert {key: value.shape for key, value in state.items()} == experts.shapes(name)
        changed = {key: value + 1 for key, value in state.items()}
        experts.load(name, changed)
        for key, value in experts.export(name).items():
            np.testing.assert_array_equal(value, changed[key])
    assert "projector.out.weight" in experts.shapes("scale/wsi")
    assert len(experts.shapes("scale/roi")) == 14


def test_the_public_start_is_zero_and_the_bases_projector(tiny_base: Path) -> None:
    """Would catch a start that carries what has been trained since."""
    experts = fresh(Base.load(tiny_base))
    start = experts.initial("scale/wsi")
    shipped = experts.base.projector.out.weight.numpy()
    np.testing.assert_array_equal(start.pop("projector.out.weight"), shipped)
    assert not any(value.any() for value in start.values())


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "nan"])
def test_a_misfit_expert_is_refused_whole(tiny_base: Path, damage: str) -> None:
    """Would catch half-loaded experts and non-finite weights in the model."""
    experts = fresh(Base.load(tiny_base))
    before = experts.export("task/vqa")
    state = {key: value + 1 for key, value in before.items()}
    last = list(state)[-1]
    if damage == "missing":
        del state[last]
    elif damage == "extra":
        state["more"] = state[last]
    elif damage == "shape":
        state[last] = state[last][:-1]
    else:
        state[last] = state[last] * np.nan
    with pytest.raises(ExpertError, match="task/vqa"):
        experts.load("task/vqa", state)
    after = experts.export("task/vqa")
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_unknown_experts_are_refused_by_name(tiny_base: Path) -> None:
    """Would catch an expert of another vocabulary that is silently ignored."""
    base = Base.load(tiny_base)
    with pytest.raises(ExpertError, match="scale/cell"):
        attach(base, {"scale/cell": ExpertForm(4, 8.0)}, 1)
    with pytest.raises(ExpertError, match="router"):
        attach(base, {ROUTER: ExpertForm(4, 8.0)}, 1)
    experts = attach(base, same_form(["scale/roi"], 4, 8.0), 1)
    with pytest.raises(ExpertError, match="task/grading"):
        experts.activate("roi", "grading")
    with pytest.raises(ExpertError, match="task/vqa"):
        experts.trainable(["task/vqa"])
    experts.activate("roi", "vqa")  # as at its public start: it adds nothing
    assert experts.active == ("scale/roi",)


def test_the_base_hash_moves_with_any_byte(tiny_base: Path, tmp_path: Path) -> None:
    """Would catch two hospitals that believe they share a base and do not."""
    for file in tiny_base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert folder_hash(tmp_path) == folder_hash(tiny_base)
    (tmp_path / "README.md").write_text("notes are no part of the base")
    assert folder_hash(tmp_path) == folder_hash(tiny_base)
    (tmp_path / "fedpath.json").write_text((tmp_path / "fedpath.json").read_text() + " ")
    assert folder_hash(tmp_path) != folder_hash(tiny_base)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "preprocessor_config.json", "fedpath.json"]
)
def test_an_incomplete_base_folder_is_named(tiny_base: Path, tmp_path: Path, name: str) -> None:
    """Would catch a stack trace where a sentence is wanted."""
    for file in tiny_base.iterdir():
        if file.name != name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BaseModelError, match=name):
        Base.load(tmp_path)
