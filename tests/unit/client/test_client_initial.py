"""`fedpath-hospital initial`: what it writes is what the consortium begins a campaign with, on any base."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.model.base import Base
from client.model.experts import attach
from privacy import tensors
from privacy.command_line import Exit
from privacy.experts import EXPERTS
from server.campaign import Campaign
from server.campaign_file import load_campaign, load_initial
from tests.documented import ROOT, claim

ASKED, SHOWN = claim("docs/campaign.md", "fedpath-hospital")


def campaign_file(folder: Path, base_hash: str, **changes: str) -> Path:
    """The file that docs/campaign.md shows, for this base."""
    shown = (ROOT / "docs" / "campaign.md").read_text("utf-8").split("```toml\n")[1].split("```")[0]
    file = folder / "summer.toml"
    text = shown.replace('"5f0c..."', f'"{base_hash}"')
    for old, new in changes.items():
        text = text.replace(old, new)
    file.write_text(text, "utf-8")
    return file


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["initial", *map(str, words)])


def test_a_campaign_begins_with_what_is_written(tiny_base: Path, tmp_path: Path) -> None:
    """Catches states of other shapes than the campaign's forms have on the base, an expert left out, and a base's projector lost:
    hospitals could not load what they are sent.
    """
    base = Base.load(tiny_base)
    file = campaign_file(tmp_path, base.hash)
    given = {"/data/base": str(tiny_base), "summer.toml": str(file)}
    done = CliRunner().invoke(app, [given.get(word, word) for word in (*SHOWN.arguments, "--json")])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["written"]) == len(EXPERTS)
    campaign: Campaign = load_campaign(file)
    states = load_initial(campaign, file)
    assert set(states) == set(EXPERTS)
    experts = attach(base, campaign.forms(EXPERTS), campaign.seed)
    for name, data in states.items():
        found, wanted = tensors.decode(data, len(data)), experts.initial(name)
        experts.load(name, found)
        assert all(np.array_equal(found[key], wanted[key]) for key in found)
        assert name == "scale/wsi" or not any(value.any() for value in found.values())


def test_the_base_is_asked_for_its_hash(tiny_base: Path, tmp_path: Path) -> None:
    """Catches a hash that the same command then refuses, and one of a folder that holds no base."""
    base = Base.load(tiny_base)
    words = [{"/data/base": str(tiny_base)}.get(word, word) for word in ASKED.arguments]
    assert CliRunner().invoke(app, words).stdout == f'base_hash = "{base.hash}"\n'
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout) == {"base_hash": base.hash}
    done = run(tmp_path)
    assert (done.exit_code, done.stdout) == (Exit.NOT_DONE, "")
    assert "has no config.json" in done.stderr


def test_states_that_are_there_stay(tiny_base: Path, tmp_path: Path) -> None:
    """Catches trained experts that are written over by new ones."""
    file = campaign_file(tmp_path, Base.load(tiny_base).hash)
    (tmp_path / "experts").mkdir()
    (tmp_path / "experts" / "scale__roi.safetensors").write_bytes(b"trained")
    done = run(tiny_base, file)
    assert done.exit_code == Exit.NOT_DONE
    assert "is there already" in done.stderr
    assert (tmp_path / "experts" / "scale__roi.safetensors").read_bytes() == b"trained"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, 'write base_hash = "'),
        ({"expert_rank = 4": "expert_rank = 0"}, "expert_rank"),
        ({"expert_rank = 4": "expert_rank = ["}, "is no TOML"),
        ({'initial = "experts"': "initial = 3"}, "initial must be a text"),
        ({'[expert."task/detection"]': "[expert]"}, "write each form as"),
        ({'[expert."task/detection"]': '[expert."task/counting"]'}, "write each form as"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    tiny_base: Path, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    """Catches a traceback, states for another base than the campaign's, and a folder half written."""
    file = campaign_file(tmp_path, "ab" * 32, **change)
    done = run(tiny_base, file)
    assert done.exit_code == Exit.NOT_DONE
    assert said in done.stderr.replace("\n", " ")
    assert not (tmp_path / "experts").exists()
