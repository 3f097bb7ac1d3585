"""The limits that a hospital starts from: cautious ones, to be edited by who answers for the patients."""

from __future__ import annotations

_TEXT = """\
# What this hospital allows; the coordinator can raise none of it. docs/policy.md explains each limit.
hospital = "{name}"
epsilon_budget = 8.0
delta = 1e-5
nominal_patients = 500
minimum_noise_multiplier = 0.5
maximum_sampling_rate = 0.2
maximum_steps = 50
maximum_samples_per_patient = 8
tasks = ["classification", "detection", "segmentation", "vqa"]
scales = ["roi", "wsi"]
campaigns = ["*"]
"""
_PUBLIC = "public_data = true # this is the consortium's evaluator: its data are public\n"


def default_policy(hospital: str, *, public_data: bool = False) -> str:
    """A policy file for this hospital."""
    return _TEXT.format(name=hospital) + (_PUBLIC if public_data else "")
