"""A whole small federation on loopback, for the end-to-end tests: real homes, real slides, real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.home import Home as Hospital
from client.home import Settings, create
from client.model.base import Base
from client.model.experts import attach
from demo.cohort import MANIFEST, SITES, Cohort, write_cohort
from demo.enrol import enrol
from demo.processes import ROOT
from privacy import keys, tensors
from privacy.expert_folder import state_file
from privacy.experts import EXPERTS, same_form
from server.home import Home as Consortium
from server.loopback import free_port
from tests.tiny_base import write_tiny_base

SEED, RANK, ALPHA = 5, 2, 4.0

POLICY = """\
hospital = "{name}"
epsilon_budget = {budget}
delta = 1e-5
nominal_patients = 20
minimum_noise_multiplier = 0.5
maximum_sampling_rate = 0.8
maximum_steps = 4
maximum_samples_per_patient = 4
tasks = {tasks}
scales = ["roi", "wsi"]
campaigns = ["*"]
public_data = {public}
minimum_evaluation_noise = 1.0
"""

CAMPAIGN = """\
name = "{name}"
seed = {seed}
base_hash = "{base}"
expert_rank = {rank}
expert_alpha = {alpha}
initial = "initial"
quorum = {quorum}
round_deadline_s = {deadline}
evaluate = "{evaluate}"

[[stage]]
kind = "sft"
rounds = {sft_rounds}
experts = ["router", "scale/roi", "scale/wsi"]
learning_rate = 0.01
mechanism = {{ clip_norm = 1.0, noise_multiplier = 1.0, sampling_rate = 0.5, steps = 2, samples_per_patient = 2 }}

[[stage]]
kind = "grpo"
rounds = 1
experts = ["task/classification", "task/detection", "task/segmentation", "task/vqa"]
learning_rate = 0.01
rollouts = 2
kl_beta = 0.04
max_answer_tokens = 8
mechanism = {{ clip_norm = 1.0, noise_multiplier = 1.0, sampling_rate = 0.5, steps = 2, samples_per_patient = 1 }}
"""

SUMS = """\
name = "{name}"
seed = {seed}
base_hash = "{base}"
expert_rank = {rank}
expert_alpha = {alpha}
initial = "initial"
quorum = {quorum}
round_deadline_s = 300.0
evaluate = "never"

[[stage]]
kind = "sft"
rounds = {rounds}
experts = ["router", "scale/roi", "scale/wsi"]
learning_rate = 0.01
mechanism = {{ clip_norm = 1.0, noise_multiplier = 1.0, sampling_rate = 0.5, steps = 1, samples_per_patient = 2 }}

[stage.distributed]
grid_step = 0.0009765625
most_patients = 100
honest = 2
colluding = 1

[patients]
{patients}
"""

NOISED = """
[noised_evaluation]
noise_multiplier = 2.0
"""

ALL_TASKS = ["classification", "detection", "segmentation", "vqa"]


@dataclass(frozen=True)
class Federation:
    """The homes, and what a campaign starts from. Nothing runs yet."""

    folder: Path
    consortium: Consortium
    hospitals: dict[str, Hospital]
    base_hash: str

    def campaign(self, name: str, noised: bool = False, **changes: Any) -> Path:
        """Write a campaign of one SFT round and one GRPO round; `changes` override the file's values, and
        where `noised` hospitals are asked for noised counts after each stage.
        """
        values = {
            "name": name,
            "seed": SEED,
            "rank": RANK,
            "alpha": ALPHA,
            "base": self.base_hash,
            "quorum": 2,
            "deadline": 300.0,
            "evaluate": "never",
            "sft_rounds": 1,
        }
        path = self.folder / f"{name}.toml"
        assert not path.exists(), f"another test has run a campaign {name!r} here: it can't be run as another"
        path.write_text(CAMPAIGN.format(**values | changes) + (NOISED if noised else ""))
        return path

    def sums(self, name: str, rounds: int) -> Path:
        """Write a campaign of rounds of which only the sum over all hospitals is seen."""
        path = self.folder / f"{name}.toml"
        text = SUMS.format(
            name=name,
            seed=SEED,
            rank=RANK,
            alpha=ALPHA,
            base=self.base_hash,
            quorum=len(self.hospitals),
            rounds=rounds,
            patients="\n".join(f"{hospital} = 20" for hospital in self.hospitals),
        )
        path.write_text(text)
        return path

    def command(self, *arguments: str, of: str = "server.cli") -> subprocess.CompletedProcess[str]:
        """Run `fedpath-consortium`, or another of the project's command lines."""
        code = f"from {of} import app; app()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900
        )

    def run(self, campaign: Path) -> subprocess.CompletedProcess[str]:
        """Run a campaign to its end."""
        return self.command("run", str(self.consortium.folder), str(campaign))

    def status(self, campaign: str) -> dict[str, Any]:
        """The consortium's own word on a campaign."""
        done = self.command("status", str(self.consortium.folder), "--json")
        assert done.returncode == 0, done.stderr
        return next(item for item in json.loads(done.stdout)["campaigns"] if item["name"] == campaign)


def build(
    folder: Path,
    evaluator: bool = False,
    patients: int = 5,
    without: dict[str, str] | None = None,
    ledgers: dict[str, str] | None = None,
    sharing: bool = False,
    host: str = "127.0.0.1",
) -> Federation:
    """Two hospitals (and an evaluator) with slides, keys and policies; or, where `sharing`, three that offer distributed
    trust, each of which has put the others' keys on record.

    `without` names a task that a hospital lacks, `ledgers` the database of one whose ledger is in PostgreSQL; the SuperLink
    is reached at `host`.
    """
    base_folder = write_tiny_base(folder / "base")
    base = Base.load(base_folder)
    (folder / "initial").mkdir()
    experts = attach(base, same_form(EXPERTS, RANK, ALPHA), SEED)
    for name in EXPERTS:
        (folder / "initial" / state_file(name)).write_bytes(tensors.encode(experts.initial(name)))
    consortium = Consortium.create(folder / "consortium", "test", host, free_port())
    homes = {}
    for site in SITES[: 3 if evaluator or sharing else 2]:
        public = evaluator and site is SITES[2]
        data = folder / "data" / site.name
        write_cohort(Cohort(data, (site,), patients, 4, 1), 1, lambda done, of: None)
        ledger = (ledgers or {}).get(site.name)
        home = create(
            folder / site.name, Settings(site.name, data / "slides", data / MANIFEST, base_folder, ledger)
        )
        lacking = (without or {}).get(site.name)
        tasks = [task for task in ALL_TASKS if task != lacking]
        policy = {
            "name": site.name,
            "budget": 50.0,
            "tasks": json.dumps(tasks),
            "public": str(public).lower(),
        }
        offered = "distributed_trust = true\n" if sharing else ""
        (home.folder / "policy.toml").write_text(POLICY.format(**policy) + offered)
        enrol(consortium, home, evaluator=public)
        homes[site.name] = home
    federation = Federation(folder, consortium, homes, base.hash)
    for home in homes.values() if sharing else ():
        for name in homes.keys() - {home.settings.name}:
            key = keys.public_path(homes[name].release_key)
            done = federation.command("peer", "add", str(home.folder), name, str(key), of="client.cli")
            assert f"{name}: {keys.load_public(key).fingerprint}" in done.stdout, done.stderr
    return federation
