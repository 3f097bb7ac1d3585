"""Sets up the demo's consortium: homes, keys, policies, kits, the campaign, exactly as people would with the commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.home import Home as Hospital
from client.home import Settings, create
from client.initial_states import write_initial
from demo.cohort import MANIFEST, SITES, Site
from demo.enrol import enrol
from demo.recipe import BUDGET, DELTA, Recipe
from privacy.base_folder import folder_hash
from privacy.experts import SCALES, TASK_EXPERTS, TASKS
from server.home import Home as Consortium
from server.loopback import free_port
from strategies.definition import Stage

CAMPAIGN = "demo"
EVALUATOR = "public"
EMBEDDED = Path(__file__).parents[1] / "client" / "model" / "embedded"


@dataclass(frozen=True)
class House:
    """Where everything of one federation lies; `hospitals` in the order of their sites, the evaluator apart."""

    folder: Path
    consortium: Consortium
    hospitals: tuple[Hospital, ...]
    evaluator: Hospital
    campaign: Path

    @property
    def homes(self) -> tuple[Hospital, ...]:
        """Hospitals and evaluator."""
        return (*self.hospitals, self.evaluator)


def build(folder: Path, data: Path, recipe: Recipe, sites: Sequence[Site] = SITES) -> House:
    """Makes all homes anew in `folder`, over the cohorts in `data`."""
    consortium = Consortium.create(folder / "consortium", "fedpath-demo", "127.0.0.1", free_port())
    for name, unlabelled in [(s.name, s.unlabelled) for s in sites] + [(EVALUATOR, ())]:
        own = data / name
        home = create(folder / name, Settings(name, own / "slides", own / MANIFEST, EMBEDDED))
        (home.folder / "policy.toml").write_text(policy(name, unlabelled, recipe), "utf-8")
        enrol(consortium, home, evaluator=name == EVALUATOR)
    (folder / "campaign.toml").write_text(campaign(folder_hash(EMBEDDED), recipe), "utf-8")
    write_initial(EMBEDDED, folder / "campaign.toml")
    return open_house(folder, sites)


def open_house(folder: Path, sites: Sequence[Site] = SITES) -> House:
    """The homes that `build` made."""
    hospitals = tuple(Hospital(folder / site.name) for site in sites)
    consortium = Consortium.open(folder / "consortium")
    return House(folder, consortium, hospitals, Hospital(folder / EVALUATOR), folder / "campaign.toml")


def policy(name: str, unlabelled: tuple[str, ...], recipe: Recipe) -> str:
    """A hospital's policy file."""
    tasks = [task for task in TASKS if task not in unlabelled]
    lines = {
        "hospital": name,
        "epsilon_budget": BUDGET,
        "delta": DELTA,
        "nominal_patients": recipe.patients,
        "minimum_noise_multiplier": 0.5,
        "maximum_sampling_rate": 0.3,
        "maximum_steps": 40,
        "maximum_samples_per_patient": 8,
        "tasks": tasks,
        "scales": list(SCALES),
        "campaigns": [CAMPAIGN],
        "public_data": name == EVALUATOR,
    }
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def campaign(base_hash: str, recipe: Recipe) -> str:
    """The campaign file."""
    top = {
        "name": CAMPAIGN,
        "seed": recipe.seed,
        "base_hash": base_hash,
        "expert_rank": recipe.rank,
        "expert_alpha": recipe.alpha,
        "initial": "initial",
        "quorum": 2,
        "round_deadline_s": 600.0,
        "evaluate": "stages",
    }
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in top.items())
    for name in TASK_EXPERTS:
        text += f'\n[expert."{name}"]\nlayers = {json.dumps(recipe.task_layers)}\n'
    return text + "".join(_stage(stage) for stage in recipe.stages)


def _stage(stage: Stage) -> str:
    mechanism = ", ".join(f"{key} = {json.dumps(value)}" for key, value in stage.mechanism.to_dict().items())
    lines = {
        "kind": stage.kind,
        "rounds": stage.rounds,
        "experts": list(stage.experts),
        "learning_rate": stage.learning_rate,
        "max_answer_tokens": stage.max_answer_tokens,
    }
    if stage.kind == "grpo":
        lines |= {"rollouts": stage.rollouts, "kl_beta": stage.kl_beta}
    body = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    return f"\n[[stage]]\n{body}mechanism = {{ {mechanism} }}\n"
