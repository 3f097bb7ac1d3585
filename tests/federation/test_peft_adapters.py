"""Experts handed out as peft adapters: plain peft, and nothing of this project's, must compute what the project does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner, Result

from client.model.base import Base
from client.model.experts import Experts, attach
from privacy import tensors
from privacy.description import Description
from privacy.experts import EXPERTS, ExpertForm, same_form
from server import cli
from server.base_layers import DECODERS
from server.records import Row
from tests.documented import claim
from tests.federation.simulator import SimulatedHospital
from tests.federation.test_evaluation import FILE
from tests.federation.test_rounds import CAMPAIGN, GRPO, SFT, World, world
from tests.model_cases import randomise

(SHOWN,) = claim("docs/model-card.md")
FORMS: dict[str, ExpertForm] = same_form(EXPERTS, CAMPAIGN.expert_rank, CAMPAIGN.expert_alpha)
GRPO_STAGE = """
[[stage]]
kind = "grpo"
rounds = 1
experts = ["task/classification", "task/detection"]
learning_rate = 0.01
rollouts = 4
max_answer_tokens = 32
mechanism = { clip_norm = 1.0, noise_multiplier = 1.0, sampling_rate = 0.1, steps = 2, samples_per_patient = 4 }
"""


def command(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def plain(base: Path) -> Any:
    """The base as anyone would load it."""
    return AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    tokens = torch.arange(3, 15)[None]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    return found


@pytest.fixture
def handed(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[World, Path, Experts]:
    """A finished campaign on the tiny base, whose start had weights that matter; its file; our own experts, as committed."""
    base = Base.load(tiny_base)
    ours = attach(base, FORMS, CAMPAIGN.seed)
    randomise(ours, EXPERTS)
    start = {name: tensors.encode(ours.export(name)) for name in EXPERTS}
    campaign = replace(CAMPAIGN, base_hash=base.hash, stages=(SFT, GRPO))
    here = world(tmp_path, "north", "south")
    monkeypatch.setattr("tests.federation.simulator.BASE", base.hash)
    shapes = {name: ours.shapes(name) for name in EXPERTS}
    monkeypatch.setattr(SimulatedHospital, "_release", _unchanged(shapes))
    from server.runner import run_campaign

    run_campaign(here.house(), campaign, start, "1")
    for name, digest in here.store.states("spring").items():
        ours.load(name, tensors.decode(here.store.state(digest), 10**7))
    file = tmp_path / "campaign.toml"
    file.write_text(FILE.format(base=base.hash) + GRPO_STAGE)
    return here, file, ours


def _unchanged(shapes: dict[str, dict[str, tuple[int, ...]]]) -> Any:
    """A hospital whose releases fit this base's experts, each expert its own tensors."""
    from privacy.release import seal
    from tests.federation.simulator import CODE, noise_deltas

    def release(self: SimulatedHospital, plan: Any) -> dict[str, bytes]:
        reservation = self.ledger.reserve(plan, self.policy, CODE)
        sealed = {}
        for name in plan.restricted(self.policy.experts):
            (delta,) = noise_deltas(plan, [name], shapes[name]).values()
            sealed[name] = seal(delta, reservation, plan, self.name, self.key)
        self.ledger.spend(reservation, sealed)
        return sealed

    return release


def test_plain_peft_computes_what_our_own_experts_do(
    handed: tuple[World, Path, Experts], tiny_base: Path, tmp_path: Path
) -> None:
    """Catches another A than hospitals trained on, a wrong scale or layer, and experts that peft can't put together."""
    here, file, ours = handed
    out = tmp_path / "peft"
    said = command("experts", here.home.folder, file, "--peft", out, "--base", tiny_base, "--json")
    assert said.exit_code == 0, said.output
    assert set(json.loads(said.stdout)["left_out"]) == {"scale/wsi", "router"}
    assert not (out / "router").exists()
    bare = logits(plain(tiny_base))
    for scale, task in (("roi", None), ("wsi", None), (None, "detection")):
        (name,) = [f"{k}__{v}" for k, v in (("scale", scale), ("task", task)) if v]
        found = logits(PeftModel.from_pretrained(plain(tiny_base), str(out / name)))
        ours.activate(scale, task)
        torch.testing.assert_close(found, logits(ours.base.model), atol=1e-6, rtol=0)
        assert (found - bare).abs().max() > 1e-3, "an expert that does nothing proves nothing"
    both = PeftModel.from_pretrained(plain(tiny_base), str(out / "scale__roi"), adapter_name="scale__roi")
    both.load_adapter(str(out / "task__vqa"), adapter_name="task__vqa")
    both.add_weighted_adapter(["scale__roi", "task__vqa"], [1.0, 1.0], "both", combination_type="cat")
    both.set_adapter("both")
    ours.activate("roi", "vqa")
    torch.testing.assert_close(logits(both), logits(ours.base.model), atol=1e-6, rtol=0)
    card = (out / "scale__wsi" / "README.md").read_text()
    for told in ("Not for clinical use", ours.base.hash, "spring", "projector.out.weight", "epsilon"):
        assert told in card
    assert here.store.states("spring")["task/detection"] not in card
    assert here.store.states("spring")["task/detection"] in (out / "README.md").read_text()


def test_a_card_names_those_who_want_to_be_named(handed: tuple[World, Path, Experts], tmp_path: Path) -> None:
    """Catches a hospital that is named without its word, one that is forgotten, and scores of another point."""
    here, file, _ = handed
    out = tmp_path / "README.md"
    north = Description("north", EXPERTS, "ab" * 32, False, "St Elsewhere | <b>Hospital</b>")
    here.store.described("north", north)
    here.store.commit_evaluation(
        "spring", "grpo", [Row("roi", "detection", "f1", 0.5, 0.4, 0.6, 90, further=False)], 3
    )
    places = {"HOME": here.home.folder, "campaign.toml": file, "README.md": out}
    said = command(*(places.get(word, word) for word in SHOWN.arguments), "--json")
    assert said.exit_code == 0, said.output
    text = out.read_text()
    assert "2 hospitals. As they asked to be named:" in text
    assert "- St Elsewhere \\| \\<b\\>Hospital\\<\\/b\\>\n\nand 1 more." in text
    assert "south" not in text
    read = ModelCard(text)
    assert (read.data.license, read.data.library_name) == ("apache-2.0", "peft")
    (result,) = read.data.eval_results
    assert (result.metric_value, result.task_name, result.metric_type) == (0.5, "roi detection", "f1")
    assert "0.400 to 0.600" in text
    again = command("experts", here.home.folder, file, "--card", out)
    assert (again.exit_code, "name a new file" in again.stderr) == (2, True)
    before = tmp_path / "before.md"
    assert command("experts", here.home.folder, file, "--point", "2", "--card", before).exit_code == 0
    assert "**Not evaluated**" in before.read_text()


def test_versions_are_listed_with_what_each_came_from(handed: tuple[World, Path, Experts]) -> None:
    """Catches a parent of another expert or round, and a task expert that does not say what lay under it."""
    here, file, _ = handed
    said = command("experts", here.home.folder, file, "--list", "--json")
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)["versions"]
    roi = [v for v in told if v["expert"] == "scale/roi"]
    assert [v["round"] for v in roi] == [0, 1, 2]
    assert [v["parent"] for v in roi] == [None, roi[0]["state"], roi[1]["state"]]
    (_, task) = [v for v in told if v["expert"] == "task/detection"]
    assert (task["round"], task["stage"]) == (3, "grpo")
    assert task["on"]["scale/roi"] == roi[-1]["state"] == here.store.states("spring", 2)["scale/roi"]
    assert "scale/roi" in command("experts", here.home.folder, file, "--list").output


def test_what_can_not_be_written_is_refused_by_name(
    handed: tuple[World, Path, Experts], tiny_base: Path, tmp_path: Path
) -> None:
    """Catches adapters made for another base, and a folder of something else that is written into."""
    here, file, _ = handed
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    for base, out, why in (
        (tmp_path / "other", tmp_path / "new", "another base"),
        (tiny_base, tmp_path / "other", "other things"),
    ):
        said = command("experts", here.home.folder, file, "--peft", out, "--base", base)
        assert said.exit_code == 2
        assert why in " ".join(said.output.split())
    assert "--base" in command("experts", here.home.folder, file, "--peft", tmp_path / "new").output
    assert command("experts", here.home.folder, file).exit_code == 2


def test_the_decoders_place_is_known_for_every_family_that_hospitals_serve() -> None:
    """Catches a family whose experts can be trained and not handed out."""
    from client.model.architectures.registry import ARCHITECTURES

    assert set(DECODERS) == set(ARCHITECTURES)
