"""docs/howto/add-a-task.md, done as it says, in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "howto" / "add-a-task.md"


def run(copy: Path, code: str) -> subprocess.CompletedProcess[str]:
    (copy / "try_it.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    return subprocess.run(
        [sys.executable, "try_it.py"], cwd=copy, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_seventh_task_is_one_file_and_one_line(tmp_path: Path) -> None:
    """Catches a task that must be told to a second place, and a page that no longer works as written."""
    for package in ("client", "privacy"):
        unneeded = shutil.ignore_patterns("embedded", "__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=unneeded)
    file, line, code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = f"import client\nassert client.__file__.startswith({str(tmp_path)!r})\n{code}"

    before = run(tmp_path, code)
    assert before.returncode != 0
    assert "unknown task 'grading'" in before.stderr

    (tmp_path / "client" / "tasks" / "grading.py").write_text(file, encoding="utf-8")
    experts = tmp_path / "privacy" / "experts.py"
    last = '        "vqa": ("roi", "wsi"),\n'
    text = experts.read_text(encoding="utf-8")
    assert text.count(last) == 1
    experts.write_text(text.replace(last, last + line), encoding="utf-8")
    after = run(tmp_path, code)
    assert after.returncode == 0, after.stderr


@pytest.mark.parametrize("member", ["read", "render", "parse", "reward", "score", "figures", "instruction"])
def test_the_page_shows_every_member_of_a_task(member: str) -> None:
    """Catches a member that a task must have and the page forgets."""
    assert re.search(rf"^    (def {member}\(|{member} = )", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
