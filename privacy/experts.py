"""The experts' names: the vocabulary that plans, policies and releases share."""

from __future__ import annotations

SCALES = ("roi", "wsi")
TASKS = ("classification", "detection", "segmentation", "vqa")

SCALE_EXPERTS = tuple(f"scale/{scale}" for scale in SCALES)
TASK_EXPERTS = tuple(f"task/{task}" for task in TASKS)
EXPERTS = SCALE_EXPERTS + TASK_EXPERTS

# Scale-aware SFT trains scale experts; task-aware GRPO trains task experts on the frozen scale experts.
TRAINED_IN = {"sft": SCALE_EXPERTS, "grpo": TASK_EXPERTS}
