"""Reading a campaign file (docs/campaign.md) and the experts' first states beside it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from privacy import tensors
from privacy.errors import MechanismError, PlanError, WireError
from privacy.experts import LAYERS, ExpertForm
from privacy.secagg.terms import Distributed
from server.campaign import Campaign, NoisedEvaluations, check_initial, mechanism_of
from server.errors import CampaignError
from strategies.definition import Aggregation, Stage
from strategies.errors import DefinitionError, RecipeError
from strategies.intake import MAX_STATE_BYTES
from strategies.optimiser import Optimiser

_NOISED = "noised_evaluation"
_AGGREGATION = "aggregation"
_OPTIMISER = "optimiser"
_EXPERT = "expert"
_STAGE = "stage"  # the file's [[stage]] tables are the campaign's `stages`


def load_campaign(path: Path) -> Campaign:
    """Read a campaign file. `CampaignError` names the file, the key and what to do."""
    try:
        return parse_campaign(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise CampaignError(f"{path}: {error.strerror}: name a campaign file (docs/campaign.md)") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CampaignError(f"{path}: not TOML: {error}") from error
    except CampaignError as error:
        raise CampaignError(f"{path}: {error}") from error


def parse_campaign(values: Mapping[str, Any]) -> Campaign:
    """Read a parsed file: every key known, every key without a default there."""
    tables = values.get(_STAGE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise CampaignError("stage: write each stage as a [[stage]] table")
    top = {key: value for key, value in values.items() if key != _STAGE}
    _check_keys("", top, Campaign, leave_out="stages")
    if isinstance(table := top.get(_NOISED), dict):
        _check_keys(f"{_NOISED}: ", table, NoisedEvaluations)
        top[_NOISED] = NoisedEvaluations(**table)
    if isinstance(table := top.get(_AGGREGATION), dict):
        _check_keys(f"{_AGGREGATION}: ", table, Aggregation)
        top[_AGGREGATION] = Aggregation(**table)
    if _OPTIMISER in top:
        top[_OPTIMISER] = _optimisers(top[_OPTIMISER])
    if _EXPERT in top:
        top[_EXPERT] = _forms(top[_EXPERT], top)
    return Campaign(**top, stages=tuple(_stage(number, table) for number, table in enumerate(tables, 1)))


def load_initial(campaign: Campaign, path: Path) -> dict[str, bytes]:
    """The first state of each expert, by name: every `.safetensors` file of the folder beside the campaign
    file.

    Raises `CampaignError` for a missing folder, a missing or unknown expert, or a file that is no expert
    state.
    """
    folder = path.parent / campaign.initial
    if not folder.is_dir():
        raise CampaignError(
            f"{path}: initial = {campaign.initial!r}: there is no folder {folder}: `fedpath-hospital initial` writes it"
        )
    files = {file.stem.replace("__", "/"): file for file in sorted(folder.glob("*.safetensors"))}
    try:
        check_initial(campaign, files.keys())
    except CampaignError as error:
        raise CampaignError(f"{path}: {error}") from error
    return {name: _read_state(file) for name, file in files.items()}


def _read_state(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        tensors.decode(data, MAX_STATE_BYTES)
    except (OSError, WireError) as error:
        raise CampaignError(
            f"{file}: not an expert state: {error}; write the folder again by `fedpath-hospital initial`"
        ) from error
    return data


def _forms(tables: object, top: Mapping[str, Any]) -> dict[str, ExpertForm]:
    """The [expert."<name>"] tables; what one leaves out is as the file's own keys say, on all layers."""
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise CampaignError(f'{_EXPERT}: write each expert\'s form as an [{_EXPERT}."task/detection"] table')
    forms = {}
    for name, table in tables.items():
        where = f'{_EXPERT}."{name}": '
        usual = {"rank": top["expert_rank"], "alpha": top["expert_alpha"], "layers": list(LAYERS)}
        _check_known(where, table, usual)
        try:
            forms[name] = ExpertForm.from_dict(usual | table)
        except PlanError as error:
            raise CampaignError(f"{where}{error}") from error
    return forms


def _optimisers(tables: object) -> dict[str, Optimiser]:
    """The [optimiser."<name>"] tables."""
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise CampaignError(f'{_OPTIMISER}: write each as an [{_OPTIMISER}."scale/roi"] table')
    found = {}
    for name, table in tables.items():
        where = f'{_OPTIMISER}."{name}": '
        _check_keys(where, table, Optimiser)
        try:
            found[name] = Optimiser(**table)
        except RecipeError as error:
            raise CampaignError(f"{where}{error}") from error
    return found


def _stage(number: int, table: dict[str, Any]) -> Stage:
    where = f"stage {number}: "
    _check_keys(where, table, Stage)
    experts = table["experts"]
    if not isinstance(experts, list) or not all(isinstance(name, str) for name in experts):
        raise CampaignError(f"{where}experts = {experts!r}: must be a list of names")
    try:
        terms = {"distributed": Distributed.from_dict(table["distributed"])} if "distributed" in table else {}
        mechanism = mechanism_of(table["mechanism"])
        return Stage(**{**table, "experts": tuple(experts), "mechanism": mechanism, **terms})
    except (CampaignError, DefinitionError, MechanismError) as error:
        raise CampaignError(f"{where}{error}") from error


def _check_keys(
    where: str,
    table: Mapping[str, Any],
    kind: type[Aggregation | Campaign | NoisedEvaluations | Optimiser | Stage],
    leave_out: str = "",
) -> None:
    known = {item.name: item for item in fields(kind) if item.name != leave_out}
    _check_known(where, table, known)
    missing = [
        key
        for key, item in known.items()
        if key not in table and item.default is MISSING and item.default_factory is MISSING
    ]
    if missing:
        raise CampaignError(f"{where}missing {', '.join(missing)}: docs/campaign.md says what each is")


def _check_known(where: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            cure = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise CampaignError(f"{where}unknown key {key!r}: {cure}")
