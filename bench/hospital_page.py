"""Server time of each of the hospital's pages: `python -m bench.hospital_page [--json] [--quick]`.

Over a home whose ledger holds 500 rounds, each reserved, spent, sent and acknowledged, and a cohort of slides; no agent runs.
In one process, from the request to the last byte of the answer, without a network. `first` is with nothing looked up yet,
`again` the median of those after it. Milliseconds; sizes of the answers in kB.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from starlette.testclient import TestClient

from bench.command import measuring, options, show
from bench.page_store import campaign_of
from bench.page_timing import timings
from client.data import open_data
from client.home import Home, Settings, create
from client.page.app import page
from client.page.entry import Entry
from client.reward_curve import RewardCurve
from client.slides.index import Looking
from demo.cohort import MANIFEST, SITES, Cohort, write_cohort
from demo.enrol import enrol
from demo.house import EMBEDDED
from pages.serving import LOOPBACK
from privacy import canonical, keys
from privacy.code_hash import code_hash
from privacy.egress_record import RELEASE, EgressRecord
from privacy.experts import EXPERTS
from privacy.ledger.store import Ledger
from privacy.receipt import ACCEPTED, Receipt
from server.campaign import Train, plan_for
from server.home import Home as Consortium

ROUNDS, PATIENTS = 500, 200
POLICY = """\
hospital = "north"
epsilon_budget = 100.0
delta = 1e-5
nominal_patients = 1000
minimum_noise_multiplier = 0.5
maximum_sampling_rate = 0.1
maximum_steps = 10
maximum_samples_per_patient = 4
tasks = ["classification", "detection"]
scales = ["roi", "wsi"]
campaigns = ["*"]
"""
PAGES = ("/", "/left", "/budget", "/policy", "/campaigns", "/slides", "/learning")


def fill(folder: Path, rounds: int, patients: int) -> Home:
    """A hospital's home with so many rounds behind it."""
    data = folder / "data"
    write_cohort(Cohort(data, (SITES[0],), patients, 4, 1), 1, lambda done, of: None)
    consortium = Consortium.create(folder / "consortium", "bench", "127.0.0.1", 19092)
    home = create(folder / "north", Settings("north", data / "slides", data / MANIFEST, EMBEDDED))
    (home.folder / "policy.toml").write_text(POLICY, "utf-8")
    enrol(consortium, home)
    open_data(home, Looking())
    coordinator, ledger = consortium.coordinator(), Ledger(home.ledger, keys.load(home.release_key))
    campaign, states = campaign_of(rounds), dict.fromkeys(EXPERTS, canonical.digest(b"a state"))
    number = 0
    for stage in campaign.stages:
        for of_stage in range(1, stage.rounds + 1):
            number += 1
            plan = plan_for(campaign, Train(number, of_stage, stage), states)
            paid = ledger.reserve(plan, home.policy, code_hash())
            sealed = {expert: f"{expert} {number}".encode() for expert in plan.experts}
            ledger.spend(paid, sealed)
            epsilon = ledger.epsilon(home.policy.delta)
            to = coordinator.public.raw.hex()
            digests = {expert: canonical.digest(release) for expert, release in sealed.items()}
            ledger.log_egress(
                [
                    EgressRecord(RELEASE + expert, digests[expert], len(release), epsilon, to)
                    for expert, release in sealed.items()
                ]
            )
            outcomes = dict.fromkeys(digests, ACCEPTED)
            receipt = Receipt("north", campaign.name, number, plan.hash, digests, outcomes, paid.hash)
            ledger.receipt(receipt.sign(coordinator), coordinator.public)
            if stage.kind == "grpo":
                curve = RewardCurve(home.rewards, campaign.name, number)
                for step in range(1, stage.mechanism.steps + 1):
                    curve.rewarded("detection", [0.4, 0.6])
                    curve.step(step)
    return home


def measure(folder: Path, rounds: int, patients: int) -> dict[str, dict[str, object]]:
    """Every page over such a home."""
    measuring(f"writing {rounds} rounds")
    home = fill(folder, rounds, patients)
    entry = Entry()
    client = TestClient(page(home, LOOPBACK, entry), base_url="http://127.0.0.1:8788", follow_redirects=False)
    client.get(f"/enter?secret={entry.secret}")
    return timings(client, PAGES)


def main() -> None:
    """Measure and print."""
    asked = options(__doc__, quick="20 rounds and 5 patients").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = (20, 5) if asked.quick else (ROUNDS, PATIENTS)
        show(measure(Path(folder), *sizes), asked.json)


if __name__ == "__main__":
    main()
