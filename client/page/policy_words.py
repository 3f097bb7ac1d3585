"""What each key of a policy means, in a sentence; docs/policy.md says more."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "hospital": "whose policy it is",
    "epsilon_budget": "the most epsilon that may ever be spent",
    "delta": "the chance that the bound of epsilon leaves open",
    "nominal_patients": "the public number that stands in for the cohort's size",
    "minimum_noise_multiplier": "a plan with less noise is refused",
    "maximum_sampling_rate": "a plan that draws a larger share of patients a step is refused",
    "maximum_steps": "the most steps in a round",
    "maximum_samples_per_patient": "the most samples of one patient in a step",
    "tasks": "what may be trained",
    "scales": "on regions (roi), on whole slides (wsi), or both",
    "campaigns": "which campaigns may ask; * is any of the coordinator's",
    "public_data": "yes only at the consortium's evaluator, whose data are public",
    "epsilon_per_campaign": "the most epsilon for one campaign",
    "epsilon_per_day": "the most epsilon in a day (UTC)",
    "minimum_evaluation_noise": "offers noised evaluations, with at least so much noise",
    "skip_bad_rows": "whether a manifest is used without its bad rows, or not at all",
    "distributed_trust": "offers rounds in which only the sum over hospitals is noised enough",
    "colluding": "how many others may side with the server there",
    "max_rank": "the most columns of an expert that are trained here",
    "hours": "when a round may begin",
    "time_zone": "whose clock the hours are",
    "gpu_memory_share": "how much of a GPU's memory training may take",
    "named_as": "how model cards may name this hospital, in public",
    "approval": "whether campaigns need this hospital's word first",
}
