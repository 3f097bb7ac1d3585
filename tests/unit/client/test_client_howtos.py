"""The how-tos for a hospital's own eyes, done as they say: every command line, on a home with slides and experts.

What a page shows under a `$` was answered about public slides: tests/e2e/test_e2e_real_slides.py goes that way where they
are. Here the same commands run on drawn ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from client.cli import app
from client.home import Home
from client.reward_curve import RewardCurve
from privacy import tensors
from privacy.evaluation import Evaluation
from privacy.expert_folder import write_experts
from privacy.experts import EXPERTS, ROUTER, same_form
from tests.aperio import picture
from tests.documented import Command, claim
from tests.unit.client.conftest import House

ASKED = claim(
    "docs/howto/evaluate.md",
    "fedpath-hospital",
    without=("fedpath-hospital ask HOME tcga-cr-7395-01a-01-ts1.svs",),
)
LOOKED_AT = claim("docs/howto/look-at-slides.md")
INDEXED = claim("docs/howto/index-slides.md")
COMMANDS = [*ASKED, *LOOKED_AT, *INDEXED]
SHOWN = {"ask", "check", "curve", "evaluate", "features", "index", "slide"}


@pytest.fixture(scope="module")
def home(shared_house: Callable[..., House]) -> Home:
    """A home that has received experts, the router trained, and has a step's rewards."""
    place = shared_house()
    ((name, start),) = tensors.decode(place.states[ROUTER], 1 << 28).items()
    trained = np.random.default_rng(0).normal(size=start.shape).astype(np.float32)
    states = place.states | {ROUTER: tensors.encode({name: trained})}
    which = Evaluation(
        "sft",
        place.base_hash,
        {name: tensors.digest(states[name]) for name in EXPERTS},
        same_form(EXPERTS, 2, 4.0),
        3,
    )
    write_experts(place.home.experts, which, states)
    curve = RewardCurve(place.home.rewards, "spring", 1)
    curve.rewarded("vqa", [0.5, 1.5])
    curve.step(1)
    return place.home


def test_every_command_is_looked_at() -> None:
    """Catches a pattern that finds no line to do."""
    assert {command.words[1] for command in COMMANDS} == SHOWN


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.text)
def test_a_line_does_what_the_page_says(
    command: Command, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a page that tells of a command, option or argument that is not so."""
    monkeypatch.chdir(tmp_path)
    slides = sorted(home.settings.slides.iterdir())
    names = {
        "n-0017a.svs": slides[0].name,
        "CMU-1-Small-Region.svs": slides[0].name,
        "/data/other.svs": str(slides[1]),
        "DIR": str(home.settings.slides),
        "1200,800,512,512": "0,0,128,128",  # of the page's slides, and of a drawn one
        "600,700,512,384": "0,0,128,128",
        "HOME": str(home.folder),
        "model/": str(home.experts),
    }
    shutil.copy(home.settings.manifest, "labels.csv")
    Image.fromarray(picture(200, 100)).save("photo.png")
    arguments = [names.get(word, word) for word in command.arguments]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, f"{command}: {done.output}"
    if "--json" in arguments:
        json.loads(done.stdout)
    for option in ("--out", "--draw"):
        if option in arguments:
            assert Path(arguments[arguments.index(option) + 1]).exists()
