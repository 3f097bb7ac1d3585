"""The first states of a campaign's experts: public, and the same for everyone who has the base and the campaign file.

A new expert adds nothing: its B is zero, and its A is made from the campaign's seed by whoever needs it. What must be written
is therefore how large it is on this base, and the base's own slide projector.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.errors import ClientError
from client.model.base import Base
from client.model.experts import attach
from privacy import durable, tensors
from privacy.errors import PlanError
from privacy.expert_folder import state_file
from privacy.experts import EXPERTS, LAYERS, ROUTER, ExpertForm


class InitialStatesError(ClientError):
    """A campaign file that first states can't be made for, or a folder that holds some."""


def write_initial(base_folder: Path, campaign_file: Path) -> list[Path]:
    """Write every expert's first state into the folder that the campaign file names; the files, by expert.

    Raises `InitialStatesError` where the file does not say how large they are or is for another base, and where the folder
    is there already: states that were trained are never written over.
    """
    values = _read(campaign_file)
    folder = campaign_file.parent / values["initial"]
    if folder.exists():
        raise InitialStatesError(
            f"{folder}: is there already; move it away, or let the campaign start from it"
        )
    forms = _forms(campaign_file, values)
    base = Base.load(base_folder)
    if values["base_hash"] != base.hash:
        raise InitialStatesError(
            f'{campaign_file}: base_hash is not that of {base_folder}: write base_hash = "{base.hash}"'
        )
    experts = attach(base, forms, 0)  # the seed is A's, which no state holds
    folder.mkdir()
    written = []
    for name in EXPERTS:
        written.append(folder / state_file(name))
        durable.replace(written[-1], tensors.encode(experts.initial(name)))
    return written


def _read(file: Path) -> Mapping[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InitialStatesError(f"{file}: is no TOML: {error}") from None
    for key in ("initial", "base_hash"):
        if not isinstance(values.get(key), str) or not values[key]:
            raise InitialStatesError(f"{file}: {key} must be a text: docs/campaign.md says what it is")
    return values


def _forms(file: Path, values: Mapping[str, Any]) -> dict[str, ExpertForm]:
    """Each expert's form: as the file's own keys say, but for what its own table says."""
    usual = {"rank": values.get("expert_rank"), "alpha": values.get("expert_alpha"), "layers": list(LAYERS)}
    tables = values.get("expert", {})
    formed = [name for name in EXPERTS if name != ROUTER]
    if not isinstance(tables, dict) or not set(tables) <= set(formed):
        raise InitialStatesError(f'{file}: write each form as an [expert."task/detection"] table')
    try:
        return {name: ExpertForm.from_dict({**usual, **tables.get(name, {})}) for name in formed}
    except TypeError:
        raise InitialStatesError(f'{file}: write each form as an [expert."task/detection"] table') from None
    except PlanError as error:
        raise InitialStatesError(f"{file}: expert_rank, expert_alpha or [expert] tables: {error}") from None
