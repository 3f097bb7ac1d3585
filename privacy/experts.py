"""The experts' names and forms: the vocabulary that plans, policies and releases share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from privacy.errors import PlanError

SCALES = ("roi", "wsi")
# Each task with the scales that it may be asked at: its registration. `client/tasks/<name>.py` says what it is.
TASKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "classification": ("roi", "wsi"),
        "detection": ("roi",),
        "segmentation": ("roi",),
        "vqa": ("roi", "wsi"),
    }
)


def tasks_at(scale: str) -> tuple[str, ...]:
    """The tasks that may be asked at a scale, in the order of `TASKS`."""
    return tuple(task for task, scales in TASKS.items() if scale in scales)


SCALE_EXPERTS = tuple(f"scale/{scale}" for scale in SCALES)
TASK_EXPERTS = tuple(f"task/{task}" for task in TASKS)
ROUTER = "router"  # gives a free question its task experts; a linear layer, where all others are LoRA
EXPERTS = (*SCALE_EXPERTS, *TASK_EXPERTS, ROUTER)

# Scale-aware SFT trains scale experts and the router; task-aware GRPO trains task experts on both, frozen.
TRAINED_IN = {"sft": (*SCALE_EXPERTS, ROUTER), "grpo": TASK_EXPERTS}

# The linear layers of a decoder's block that an expert may adapt, as every supported base calls them.
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_MOST_ALPHA = 1e6  # and one that no float holds
_MOST_RANK = 1024  # against a plan that would hold a hospital's machine for ever


@dataclass(frozen=True)
class ExpertForm:
    """A LoRA expert's rank, alpha and adapted layers; it adds alpha / rank * B A x to each.

    `layers` are of `LAYERS`, in that order, at least one. Raises `PlanError` for anything else.
    """

    rank: int
    alpha: float
    layers: tuple[str, ...] = LAYERS

    def __post_init__(self) -> None:
        if type(self.rank) is not int or not 1 <= self.rank <= _MOST_RANK:
            raise PlanError(f"rank = {self.rank!r}: must be a whole number from 1 to {_MOST_RANK}")
        if type(self.alpha) not in (int, float) or not 0 < self.alpha <= _MOST_ALPHA:
            raise PlanError(f"alpha = {self.alpha!r}: must be a number above 0, at most {_MOST_ALPHA:g}")
        object.__setattr__(self, "alpha", float(self.alpha))
        layers = self.layers
        if not isinstance(layers, tuple) or not layers or layers != tuple(x for x in LAYERS if x in layers):
            raise PlanError(
                f"layers = {layers!r}: must be some of {', '.join(LAYERS)}, each once, in this order"
            )

    def to_dict(self) -> dict[str, Any]:
        """Fields as JSON values."""
        return {"rank": self.rank, "alpha": self.alpha, "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, fields: object) -> ExpertForm:
        """Read what `to_dict` wrote. Raises `PlanError`."""
        if not isinstance(fields, dict) or set(fields) != set(cls.__dataclass_fields__):
            raise PlanError(f"an expert's form has {', '.join(cls.__dataclass_fields__)}, not {fields!r}")
        layers = fields["layers"]
        if not isinstance(layers, list):
            raise PlanError(f"layers = {layers!r}: must be a list of names")
        return cls(fields["rank"], fields["alpha"], tuple(layers))


def same_form(names: Iterable[str], rank: int, alpha: float) -> dict[str, ExpertForm]:
    """One form, of all layers, for each of these experts but the router, which has none."""
    return {name: ExpertForm(rank, alpha) for name in names if name != ROUTER}


def forms_to_dict(forms: Mapping[str, ExpertForm]) -> dict[str, dict[str, Any]]:
    """Forms by expert as JSON values."""
    return {name: form.to_dict() for name, form in forms.items()}


def forms_from_dict(fields: object) -> dict[str, ExpertForm]:
    """Read what `forms_to_dict` wrote. Raises `PlanError` naming the expert."""
    if not isinstance(fields, dict):
        raise PlanError(f"forms must map experts to their forms, not {fields!r}")
    forms = {}
    for name, form in fields.items():
        try:
            forms[name] = ExpertForm.from_dict(form)
        except PlanError as error:
            raise PlanError(f"forms: {name}: {error}") from error
    return forms


def check_forms(forms: object, names: Iterable[str]) -> Mapping[str, ExpertForm]:
    """The forms, unchangeable. `PlanError` unless each of `names` but the router has one, and nothing else has."""
    if not isinstance(forms, Mapping) or not all(isinstance(form, ExpertForm) for form in forms.values()):
        raise PlanError(f"forms must map experts to their forms, not {forms!r}")
    if set(forms) != set(names) - {ROUTER}:
        odd = ", ".join(map(str, sorted(set(forms) ^ (set(names) - {ROUTER}))))
        raise PlanError(f"forms must be of the experts that experts_hash names, {ROUTER} excepted; see {odd}")
    return MappingProxyType(dict(forms))
