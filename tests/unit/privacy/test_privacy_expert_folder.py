"""Folders of experts: whole and as hashed, or refused by the file's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privacy import tensors
from privacy.errors import WireError
from privacy.evaluation import Evaluation
from privacy.expert_folder import INDEX, read_experts, state_file, write_experts
from privacy.experts import same_form

STATES = {
    name: tensors.encode({"x.lora_B": np.full((2, 2), value, np.float32)})
    for name, value in (("scale/roi", 1.0), ("task/vqa", 2.0))
}
EXPERTS = Evaluation(
    "grpo",
    "0" * 64,
    {name: tensors.digest(data) for name, data in STATES.items()},
    same_form(STATES, 2, 4.0),
    1,
)


def test_what_is_written_is_read_for_this_user_alone(tmp_path: Path) -> None:
    """Catches a lost expert, a wrong name, and files that others may read."""
    folder = tmp_path / "experts"
    write_experts(folder, EXPERTS, STATES)
    assert read_experts(folder) == (EXPERTS, STATES)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_another_set_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """Catches an expert of an older set that stays among those of a newer one."""
    write_experts(tmp_path, EXPERTS, STATES)
    fewer = Evaluation(
        "sft", "0" * 64, {"scale/roi": EXPERTS.experts_hash["scale/roi"]}, same_form(["scale/roi"], 2, 4.0), 1
    )
    write_experts(tmp_path, fewer, STATES)
    assert read_experts(tmp_path) == (fewer, {"scale/roi": STATES["scale/roi"]})
    assert sorted(path.name for path in tmp_path.iterdir()) == [INDEX, state_file("scale/roi")]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda folder: (folder / INDEX).unlink(), INDEX),  # writing did not come to its end
        (lambda folder: (folder / INDEX).write_text("{}"), INDEX),
        (lambda folder: (folder / INDEX).write_bytes(b" " * (1 << 20)), INDEX),
        (lambda folder: (folder / state_file("task/vqa")).unlink(), "task__vqa"),
        (lambda folder: (folder / state_file("task/vqa")).write_bytes(STATES["scale/roi"]), "task__vqa"),
    ],
    ids=["no index", "not an index", "index too long", "state missing", "state exchanged"],
)
def test_a_damaged_folder_is_refused_by_the_files_name(
    tmp_path: Path, spoil: Callable[[Path], object], named: str
) -> None:
    """Catches experts that are evaluated under another's name."""
    write_experts(tmp_path, EXPERTS, STATES)
    spoil(tmp_path)
    with pytest.raises(WireError, match=named):
        read_experts(tmp_path)
