"""The what-if command: its hospitals, what it asks of them, and what it shows."""

from __future__ import annotations

import tomllib

from rich.console import Console

from demo.house import campaign, policy
from demo.recipe import BUDGET, DELTA, events
from demo.what_if import many_sites, recipe, table
from privacy.accounting import epsilon
from privacy.experts import ROUTER
from privacy.policy import Policy
from server.campaign_file import parse_campaign


def test_every_hospital_allows_what_is_asked_within_its_budget():
    """Catches a recipe that some hospital refuses: a study of fewer hospitals than it says."""
    asked = parse_campaign(tomllib.loads(campaign("a" * 64, recipe())))
    (stage,) = asked.stages
    for site in many_sites(50):
        own = Policy.from_dict(tomllib.loads(policy(site.name, site.unlabelled, recipe())))
        assert set(stage.experts) - {ROUTER} <= set(own.experts)
        assert stage.mechanism.sampling_rate <= own.maximum_sampling_rate
        assert stage.mechanism.steps <= own.maximum_steps
        assert stage.mechanism.noise_multiplier >= own.minimum_noise_multiplier
    assert epsilon(events(recipe()), DELTA) <= BUDGET


def test_hospitals_have_names_of_their_own():
    """Catches two hospitals drawn under one name: they would be the same patients, and one would not be enrolled."""
    names = [site.name for site in many_sites(50)]
    assert len(set(names)) == 50
    assert names[:4] == ["north-01", "south-01", "coast-01", "north-02"]


def test_the_table_holds_what_was_found():
    """Catches a column that shows another figure than its head says."""
    result = {
        "hospitals": 50,
        "workers": 2,
        "drawing_s": 60.0,
        "seconds": 600.0,
        "peak_memory_mib": 1234,
        "scores": [
            {
                "scale": "roi",
                "task": "vqa",
                "metric": "accuracy",
                "before": 0.25,
                "after": 0.5,
                "ci95": [0.4, 0.6],
                "n": 9,
            }
        ],
        "epsilon": {"north-01": 4.0, "south-01": 5.0},
        "rounds": [{"round": 1, "contributors": 49, "seconds": 70.4}],
    }
    console = Console(width=160)
    with console.capture() as shown:
        console.print(table(result))
    text = " ".join(shown.get().split())
    for part in (
        "0.250",
        "0.500",
        "0.400 to 0.600",
        "4.00 to 5.00",
        "round 1: 49 hospitals, 70 s",
        "10.0 minutes",
        "1,234 MiB",
    ):
        assert part in text
