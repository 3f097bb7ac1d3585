"""A folder of experts: `experts.json`, which says what they are, and one safetensors file for each.

`experts.json` is a `privacy.evaluation.Evaluation` as canonical JSON: base, shape, and the hash of each state.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from privacy import canonical, durable
from privacy.errors import WireError
from privacy.evaluation import MAX_BYTES, Evaluation

INDEX = "experts.json"


def state_file(expert: str) -> str:
    """The file name of an expert's state."""
    return expert.replace("/", "__") + ".safetensors"


def write_experts(folder: Path, experts: Evaluation, states: Mapping[str, bytes]) -> None:
    """Write the states that `experts` names (0600, in a folder of 0700), in place of any that lie there.

    The index comes last: a folder that was not finished is refused at reading, never taken for another's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    wanted = {state_file(name): states[name] for name in experts.experts_hash}
    for old in folder.glob("*.safetensors"):
        if old.name not in wanted:
            old.unlink()
    for name, data in wanted.items():
        durable.replace(folder / name, data)
    durable.replace(folder / INDEX, experts.to_bytes())


def read_experts(folder: Path) -> tuple[Evaluation, dict[str, bytes]]:
    """What the folder holds. Raises `WireError`, naming the file, unless all is there and as its hash says."""
    try:
        data = (folder / INDEX).read_bytes()
        if len(data) > MAX_BYTES:
            raise WireError(f"it has {len(data)} bytes")
        experts = Evaluation.from_bytes(data)
    except (OSError, WireError) as error:
        raise WireError(f"{folder / INDEX}: can't be read as an index of experts: {_why(error)}") from None
    states = {}
    for name, digest in experts.experts_hash.items():
        path = folder / state_file(name)
        try:
            states[name] = path.read_bytes()
        except OSError as error:
            raise WireError(f"{path}: {_why(error)}, but {INDEX} names it: copy the whole folder") from None
        if canonical.digest(states[name]) != digest:
            raise WireError(f"{path}: is not the state that {INDEX} names: copy the whole folder again")
    return experts, states


def _why(error: Exception) -> str:
    return error.strerror or "unreadable" if isinstance(error, OSError) else str(error)
