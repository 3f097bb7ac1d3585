"""The notebook runs, small and as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "campaign.ipynb"
SMALL = {
    "patients": 6,
    "public_patients": 3,
    "rounds": 1,
    "steps": 2,
    "epsilons": (8.0, None),
    "seeds": (1, 2),
    "hospitals": 5,
}
# What the test asks of the kernel when all cells have run.
_QUESTION = """
import json, hashlib
def _digest(state):
    return hashlib.sha256(b"".join(v.tobytes() for _, t in sorted(state.items()) for _, v in sorted(t.items()))).hexdigest()
print(json.dumps({
    "epsilon": campaign["epsilon"], "spent": spent, "contributors": [r["contributors"] for r in campaign["rounds"]],
    "gains": gains, "each": each,
    "swapped": [[attack, rule, *values] for (attack, rule), values in swapped.items()],
    "states": {rule: _digest(aggregate_all(lab.start(), by_expert(first_round[level, seeds[0]]), chosen, plan))
               for rule, chosen in rules.items()},
    "trained": len({_digest(state) for state in states.values()}), "start": _digest(lab.start()) in map(_digest, states.values()),
}))
"""

pytestmark = [pytest.mark.nightly, pytest.mark.e2e]


def executed(folder: Path, changed: dict[str, Any]) -> tuple[nbformat.NotebookNode, dict[str, Any]]:
    """The notebook, run in a kernel of its own with other parameters; and what its variables were at the end."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = next(i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", ()))
    lines = [f"{name} = {value!r}" for name, value in {"folder": str(folder), **changed}.items()]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    notebook.cells.append(nbformat.v4.new_code_cell(_QUESTION))
    NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    return notebook, json.loads(notebook.cells[-1].outputs[0].text)


@pytest.fixture
def own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel imports this very tree."""
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *([path] if path else [])]))


def check(notebook: nbformat.NotebookNode, found: dict[str, Any], hospitals: int, trainings: int) -> None:
    """What holds at every size."""
    assert len(found["epsilon"]) == hospitals
    assert all(abs(said - found["spent"]) < 0.01 for said in found["epsilon"].values())
    assert found["contributors"] == [hospitals] * len(found["contributors"])
    assert found["trained"] == trainings  # every level and seed came to a model of its own
    assert not found["start"]
    assert len(set(found["states"].values())) >= 4  # norm-bound may have nothing to shorten
    for gain, low, high in found["gains"].values():
        assert low <= gain <= high
    pictures = [o for c in notebook.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert len(pictures) == 2


@pytest.mark.timeout(1800)
def test_the_notebook_runs_small(tmp_path: Path, own_code: None) -> None:
    """Catches a cell that fails, hospitals that take no part, ledgers that say another epsilon, and swaps that swap nothing."""
    check(*executed(tmp_path, SMALL), hospitals=5, trainings=4)


@pytest.mark.timeout(4 * 3600)
def test_the_notebook_shows_what_it_says(tmp_path: Path, own_code: None) -> None:
    """Catches a notebook whose words its own figures don't bear out: at its own size noise costs what training gains."""
    notebook, found = executed(tmp_path, {"workers": os.cpu_count() or 1})
    check(notebook, found, hospitals=6, trainings=12)
    gain, low, _ = found["gains"]["no noise"]
    assert low > 0
    assert min(found["each"]["no noise"]) > 0
    assert gain > found["gains"]["1"][0]


@pytest.mark.timeout(3600)
def test_the_page_experiment_runs(tmp_path: Path) -> None:
    """Catches a page whose example is of another version."""
    page = (ROOT / "docs" / "notebook.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    body = example.replace("build/mine", str(tmp_path / "mine"))
    script = tmp_path / "mine.py"
    lines = [*body.strip().splitlines(), "print(sorted(rows), rows['median'] != rows['base'])"]
    script.write_text("if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in lines))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("['base', 'median'] True")
