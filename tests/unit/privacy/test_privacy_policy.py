"""The policy file: wrong keys and values are named with the cure, and each limit is enforced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privacy.codes import Refusal
from privacy.errors import PolicyError
from privacy.experts import ExpertForm
from privacy.hours import Hours
from privacy.plan import Plan
from privacy.policy import Policy, refusal
from tests.privacy_cases import ASKED, BASE, CODE, DISTRIBUTED, MECHANISM, PLAN, POLICY

TEXT = """
hospital = "north"
epsilon_budget = 8
delta = 1e-5
nominal_patients = 1000
minimum_noise_multiplier = 0.5
maximum_sampling_rate = 0.2
maximum_steps = 50
maximum_samples_per_patient = 8
tasks = ["classification", "vqa"]
scales = ["roi", "wsi"]
campaigns = ["*"]
"""


def test_a_policy_file_is_read(tmp_path: Path) -> None:
    """Catches a key that is read under another name."""
    (tmp_path / "policy.toml").write_text(TEXT)
    policy = Policy.load(tmp_path / "policy.toml")
    assert policy == POLICY
    assert policy.experts == ("router", "scale/roi", "scale/wsi", "task/classification", "task/vqa")
    assert policy.expected_patients(MECHANISM) == pytest.approx(100.0)


def test_limits_on_a_part_of_the_budget_are_read_and_may_be_left_out(tmp_path: Path) -> None:
    """Catches a limit that is lost on its way into the ledger, or that has a default."""
    assert (POLICY.epsilon_per_campaign, POLICY.epsilon_per_day) == (None, None)
    (tmp_path / "policy.toml").write_text(TEXT + "epsilon_per_campaign = 4\nepsilon_per_day = 0.5\n")
    policy = Policy.load(tmp_path / "policy.toml")
    assert (policy.epsilon_per_campaign, policy.epsilon_per_day) == (4.0, 0.5)
    assert Policy.from_dict(policy.to_dict()) == policy
    assert Policy.from_dict(POLICY.to_dict()) == POLICY
    assert policy.hash != POLICY.hash


def test_a_highest_rank_is_read_and_may_be_left_out(tmp_path: Path) -> None:
    """Catches a bound that is lost on its way into the ledger, or that has a default; and policies of older ledgers."""
    assert POLICY.max_rank is None
    (tmp_path / "policy.toml").write_text(TEXT + "max_rank = 4\n")
    policy = Policy.load(tmp_path / "policy.toml")
    assert policy.max_rank == 4
    assert Policy.from_dict(policy.to_dict()) == policy
    older = {name: value for name, value in POLICY.to_dict().items() if name != "max_rank"}
    assert Policy.from_dict(older) == POLICY


def test_what_it_rules_from_day_to_day_is_read_and_may_be_left_out(tmp_path: Path) -> None:
    """Catches hours, a share or an approval that is lost on its way into the ledger; and policies of older ledgers."""
    assert (POLICY.opening, POLICY.gpu_memory_share, POLICY.approval) == (None, None, "automatic")
    more = 'hours = ["mon-fri 19:00-07:00"]\ntime_zone = "UTC"\ngpu_memory_share = 0.5\napproval = "manual"\n'
    (tmp_path / "policy.toml").write_text(TEXT + more)
    policy = Policy.load(tmp_path / "policy.toml")
    assert policy.opening == Hours(("mon-fri 19:00-07:00",), "UTC")
    assert (policy.gpu_memory_share, policy.approval) == (0.5, "manual")
    assert Policy.from_dict(policy.to_dict()) == policy
    newer = ("hours", "time_zone", "gpu_memory_share", "approval")
    assert Policy.from_dict({k: v for k, v in POLICY.to_dict().items() if k not in newer}) == POLICY


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epsilon_budget", "epsilon_bugdet", "did you mean 'epsilon_budget'"),
        ("delta = 1e-5", "delta = 1e-5\ncolour = 1", "unknown key 'colour': known keys"),
        ("delta = 1e-5\n", "", "missing delta"),
        ("delta = 1e-5", "delta = 0", "delta = 0"),
        ("delta = 1e-5", 'delta = "small"', "must be a number"),
        ("delta = 1e-5", "delta = 1e-3", "below 1/nominal_patients"),
        ("delta = 1e-5", "delta = 1e-13", "at least 1e-12"),
        ("delta = 1e-5", "delta = nan", "must be a number"),
        ("epsilon_budget = 8", "epsilon_budget = inf", "epsilon_budget"),
        ("epsilon_budget = 8", "epsilon_budget = -1", "epsilon_budget"),
        ("epsilon_budget = 8", "epsilon_budget = true", "epsilon_budget"),
        ("minimum_noise_multiplier = 0.5", "minimum_noise_multiplier = 0", "minimum_noise_multiplier"),
        ("maximum_sampling_rate = 0.2", "maximum_sampling_rate = 1.1", "maximum_sampling_rate"),
        ("maximum_steps = 50", "maximum_steps = 0.5", "maximum_steps"),
        ("nominal_patients = 1000", "nominal_patients = 0", "nominal_patients"),
        ('"vqa"]', '"vqa", "grading"]', "'grading': use some of"),
        ('scales = ["roi", "wsi"]', 'scales = "roi"', "list of names"),
        ('campaigns = ["*"]', "campaigns = [1]", "list of names"),
        ('hospital = "north"', 'hospital = "St. North"', "hospital"),
        ('hospital = "north"', "hospital = north", "not TOML"),
        ("delta = 1e-5", "delta = 1e-5\npublic_data = 1", "public_data"),
        ("delta = 1e-5", 'delta = 1e-5\nskip_bad_rows = "yes"', "skip_bad_rows = 'yes'"),
        ("delta = 1e-5", "delta = 1e-5\nepsilon_per_day = 0", "epsilon_per_day = 0"),
        ("delta = 1e-5", 'delta = 1e-5\nepsilon_per_campaign = "4"', "epsilon_per_campaign = '4'"),
        ("delta = 1e-5", "delta = 1e-5\nminimum_evaluation_noise = 0", "minimum_evaluation_noise = 0"),
        ("delta = 1e-5", "delta = 1e-5\nmax_rank = 0", "max_rank = 0: must be a whole number from 1"),
        ("delta = 1e-5", "delta = 1e-5\nmax_rank = 4.0", "max_rank = 4.0"),
        ("delta = 1e-5", "delta = 1e-5\nmax_rank = true", "max_rank = True"),
        ("delta = 1e-5", 'delta = 1e-5\nhours = ["mon 08:00-09:00"]', "state their time_zone"),
        ("delta = 1e-5", 'delta = 1e-5\nhours = []\ntime_zone = "UTC"', "hours has 0 spans"),
        ("delta = 1e-5", 'delta = 1e-5\nhours = "mon 08:00-09:00"\ntime_zone = "UTC"', "list of names"),
        ("delta = 1e-5", 'delta = 1e-5\ntime_zone = "Middle/Earth"', "time_zone = 'Middle/Earth'"),
        ("delta = 1e-5", "delta = 1e-5\ntime_zone = 1", "time_zone = 1"),
        ("delta = 1e-5", "delta = 1e-5\ngpu_memory_share = 0", "gpu_memory_share = 0"),
        ("delta = 1e-5", "delta = 1e-5\ngpu_memory_share = 1.5", "gpu_memory_share = 1.5"),
        ("delta = 1e-5", "delta = 1e-5\napproval = true", "use 'automatic' or 'manual'"),
        ("delta = 1e-5", 'delta = 1e-5\nnamed_as = ""', "named_as = '': use 1 to 80"),
        ("delta = 1e-5", 'delta = 1e-5\nnamed_as = "two\\nlines"', "printable letters"),
        ("delta = 1e-5", 'delta = 1e-5\nnamed_as = " padded "', "without blanks around"),
        ("delta = 1e-5", f'delta = 1e-5\nnamed_as = "{"n" * 81}"', "1 to 80"),
        ("delta = 1e-5", "delta = 1e-5\nnamed_as = true", "named_as = True"),
    ],
)
def test_a_wrong_policy_file_is_named_with_key_and_cure(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    """Catches a limit that is silently not in force because of a slip of the pen."""
    assert old in TEXT
    path = tmp_path / "policy.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(PolicyError, match=message) as caught:
        Policy.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    """Catches training without a policy."""
    with pytest.raises(PolicyError, match="without a policy"):
        Policy.load(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not TOML"):
        Policy.load(tmp_path / "policy.toml")


def with_mechanism(**changes: Any) -> Plan:
    return replace(PLAN, mechanism=replace(MECHANISM, **changes))


@pytest.mark.parametrize(
    ("policy", "plan", "base", "code"),
    [
        (POLICY, PLAN, BASE, None),
        (
            POLICY,
            with_mechanism(noise_multiplier=0.5, sampling_rate=0.2, steps=50, samples_per_patient=8),
            BASE,
            None,
        ),
        (replace(POLICY, public_data=True), PLAN, BASE, Refusal.NOT_OFFERED),
        (replace(POLICY, campaigns=("autumn",)), PLAN, BASE, Refusal.CAMPAIGN_NOT_ALLOWED),
        (replace(POLICY, campaigns=("spring",)), PLAN, BASE, None),
        (replace(POLICY, scales=()), PLAN, BASE, Refusal.POLICY_EXPERTS),
        (replace(POLICY, scales=("wsi",)), PLAN, BASE, None),
        (POLICY, with_mechanism(noise_multiplier=0.499), BASE, Refusal.POLICY_NOISE),
        (POLICY, with_mechanism(noise_multiplier=0.0), BASE, Refusal.POLICY_NOISE),
        (POLICY, with_mechanism(sampling_rate=0.201), BASE, Refusal.POLICY_SAMPLING),
        (POLICY, with_mechanism(steps=51), BASE, Refusal.POLICY_STEPS),
        (POLICY, with_mechanism(samples_per_patient=9), BASE, Refusal.POLICY_SAMPLES),
        (POLICY, PLAN, CODE, Refusal.BASE_MISMATCH),
        (POLICY, DISTRIBUTED, BASE, Refusal.NOT_OFFERED),
        (replace(POLICY, distributed_trust=True), DISTRIBUTED, BASE, None),
        (replace(POLICY, distributed_trust=True), PLAN, BASE, None),
        (replace(POLICY, max_rank=1), PLAN, BASE, None),
        (replace(POLICY, distributed_trust=True, max_rank=3), DISTRIBUTED, BASE, Refusal.POLICY_RANK),
        (replace(POLICY, distributed_trust=True, max_rank=4), DISTRIBUTED, BASE, None),
        (
            replace(POLICY, distributed_trust=True, max_rank=3, scales=("roi",)),
            replace(
                DISTRIBUTED, forms={**DISTRIBUTED.forms, "scale/roi": ExpertForm(3, 8.0)}
            ),  # wsi's 4 are others'
            BASE,
            None,
        ),
        (replace(POLICY, distributed_trust=True, colluding=2), DISTRIBUTED, BASE, Refusal.POLICY_TRUST),
        (
            replace(POLICY, distributed_trust=True, minimum_noise_multiplier=1.1),
            DISTRIBUTED,
            BASE,
            Refusal.POLICY_NOISE,
        ),
    ],
)
def test_each_limit_is_enforced(policy: Policy, plan: Plan, base: str, code: Refusal | None) -> None:
    """Catches a limit that is read but not checked, or checked on the wrong side."""
    assert refusal(policy, plan, base) == code


OFFERING = replace(POLICY, minimum_evaluation_noise=2.0)


@pytest.mark.parametrize(
    ("policy", "changes", "base", "code"),
    [
        (OFFERING, {}, BASE, None),
        (OFFERING, {"noise_multiplier": 2.0}, BASE, None),
        (POLICY, {}, BASE, Refusal.NOT_OFFERED),
        (replace(OFFERING, public_data=True), {}, BASE, Refusal.NOT_OFFERED),
        (replace(OFFERING, campaigns=("autumn",)), {}, BASE, Refusal.CAMPAIGN_NOT_ALLOWED),
        (OFFERING, {"kinds": (("roi", "detection"),)}, BASE, Refusal.POLICY_EXPERTS),
        (OFFERING, {"kinds": (("roi", "detection"), ("roi", "vqa"))}, BASE, None),
        (replace(OFFERING, scales=()), {}, BASE, Refusal.POLICY_EXPERTS),
        (OFFERING, {"noise_multiplier": 1.999}, BASE, Refusal.POLICY_NOISE),
        (OFFERING, {}, CODE, Refusal.BASE_MISMATCH),
    ],
)
def test_each_limit_on_a_noised_evaluation_is_enforced(
    policy: Policy, changes: dict[str, Any], base: str, code: Refusal | None
) -> None:
    """Catches counts that leave though the policy never offered them, or with less noise than it asks for."""
    assert refusal(policy, replace(ASKED, **changes), base) == code
