"""The demo's policies, campaign and report: what it writes must be what hospitals and coordinator accept."""

from __future__ import annotations

import tomllib

from demo.cohort import SITES
from demo.house import EMBEDDED, campaign, policy
from demo.recipe import BUDGET, DELTA, DEMO, STUDY, cohorts, events
from demo.report import write_report
from privacy.accounting import epsilon
from privacy.plan import Plan
from privacy.policy import Policy, refusal
from server.campaign_file import parse_campaign

BASE = "a" * 64


def _policy(site):
    return Policy.from_dict(tomllib.loads(policy(site.name, site.unlabelled, DEMO)))


def test_every_hospital_allows_what_the_demo_asks_and_its_budget_lasts():
    """Catches a recipe that a policy refuses, or that runs out of budget in the last round."""
    asked = parse_campaign(tomllib.loads(campaign(BASE, DEMO)))
    events = [stage.mechanism.event() for stage in asked.stages for _ in range(stage.rounds)]
    assert epsilon(events, DELTA) <= BUDGET == 8.0
    for site in SITES:
        own = _policy(site)
        assert own.nominal_patients == DEMO.patients
        assert all(stage.mechanism.noise_multiplier >= own.minimum_noise_multiplier for stage in asked.stages)
        assert all(stage.mechanism.sampling_rate <= own.maximum_sampling_rate for stage in asked.stages)
        assert all(stage.mechanism.steps <= own.maximum_steps for stage in asked.stages)


def test_the_coast_lacks_detection():
    """Catches a demo in which all hospitals train all experts, so that a missing one is never tried."""
    allowed = {site.name: _policy(site).experts for site in SITES}
    assert "task/detection" not in allowed["coast"]
    assert "task/detection" in allowed["north"]


def test_the_study_spends_what_the_demo_may():
    """Catches arms of the study under another budget than the one that its table states."""
    assert epsilon(events(STUDY), DELTA) <= BUDGET


def test_validation_patients_are_other_patients(tmp_path):
    """Catches a public set that was drawn from the hospitals' seed: its patients would be the hospitals' own."""
    *private, public = cohorts(tmp_path, DEMO, DEMO.seed)
    assert public.seed not in {cohort.seed for cohort in private}
    assert set(public.sites) == set(SITES)


def test_the_embedded_base_is_small_and_whole():
    """Catches a base that outgrew its place in the repository, or a file that was left behind."""
    files = {path.name for path in EMBEDDED.iterdir()}
    needed = {"model.safetensors", "config.json", "tokenizer.json", "fedpath.json", "projector.safetensors"}
    assert needed | {"README.md", "pretraining.jsonl", "scores.jsonl"} <= files
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 24 * 2**20


def test_the_report_shows_each_figure_and_needs_no_other_file(tmp_path):
    """Catches a report that hides a row, or that loads something from elsewhere."""
    result = {
        "rows": [
            {
                "scale": "roi",
                "task": "detection",
                "metric": "AP50",
                "base": 0.125,
                "sft": 0.25,
                "federated": 0.375,
            }
            | {"ci95": [0.31, 0.44], "n": 57}
        ],
        "hospitals": [
            {"name": "north", "epsilon": 7.654, "epsilon_budget": 8.0, "delta": 1e-5, "patients_nominal": 800}
            | {"releases": 12, "bytes_out": 123456, "slides_skipped": 3}
        ],
        "epsilon_by_round": {"north": [3.1, 7.654]},
        "rounds": [
            {
                "round": 1,
                "stage": "sft",
                "seconds": 61.0,
                "accepted": {"north": 2},
                "refused": ["south : no-answer"],
            }
        ],
        "network": "none: <cut>",
        "seconds": 600.0,
    }
    write_report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    for figure in (
        "0.125",
        "0.250",
        "0.375",
        "0.310 to 0.440",
        "7.654",
        "123,456",
        "no-answer",
        "&lt;cut&gt;",
    ):
        assert figure in text
    body = text.split("</style>", 1)[1]
    assert "<script" not in body
    assert 'href="http' not in body
    assert 'src="' not in body


def test_a_wrong_base_is_refused_before_training():
    """Catches a policy check that forgets the base: another base's deltas would be nonsense."""
    asked = parse_campaign(tomllib.loads(campaign(BASE, DEMO)))
    stage = asked.stages[0]
    plan = Plan(
        campaign=asked.name,
        round=1,
        stage=stage.kind,
        experts=stage.experts,
        mechanism=stage.mechanism,
        learning_rate=stage.learning_rate,
        base_hash=BASE,
        experts_hash=dict.fromkeys(stage.experts, "0" * 64),
        forms=asked.forms(stage.experts),
        expert_seed=asked.seed,
    )
    assert refusal(_policy(SITES[0]), plan, BASE) is None
    assert refusal(_policy(SITES[0]), plan, "b" * 64) == "base-mismatch"
