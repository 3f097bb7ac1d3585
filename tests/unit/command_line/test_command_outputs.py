"""What commands are told to write: a file that is there is named, and is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from privacy.command_line import Exit
from tests.unit.command_line.programs import LEAVES, PROGRAMS

# Each takes what it is given for a home, a book or a slide, and looks at none of them before.
OUTPUTS = [
    "fedpath-audit report book --out FILE",
    "fedpath-audit report book --out new --pdf FILE",
    "fedpath-hospital slide show home slide --out FILE",
    "fedpath-hospital ask home slide question --draw FILE",
    "fedpath-hospital curve home --out FILE",
    "fedpath-consortium experts home campaign --card FILE",
]
ELSEWHERE = {
    f"fedpath-hospital import {kind} --out" for kind in ("coco", "qupath", "csv")
}  # tests/unit/imports


def run(line: str, file: Path) -> tuple[int, str, str]:
    program, *words = line.split()
    done = CliRunner().invoke(PROGRAMS[program], [str(file) if word == "FILE" else word for word in words])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("line", OUTPUTS)
def test_what_is_there_is_not_written_over(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a policy that becomes a picture by a slip of the hand, a link that is written through or replaced, and work that
    is done before the file is looked at.
    """
    monkeypatch.chdir(tmp_path)
    policy, link = tmp_path / "policy.toml", tmp_path / "link"
    policy.write_text("mine")
    link.symlink_to("nowhere")
    for file in (policy, link, tmp_path):
        told = f"error: {file} is there already: name a new file, or remove that one first\n"
        assert run(line, file) == (Exit.NOT_DONE, "", told)
    assert (policy.read_text(), link.is_symlink()) == ("mine", True)
    assert sorted(tmp_path.iterdir()) == [link, policy]


def test_every_option_that_names_a_file_to_write_is_looked_at() -> None:
    """Catches a new option that writes over whatever it is given."""
    found = {
        f"{leaf} {option.opts[0]}"
        for leaf in LEAVES
        for option in leaf.options
        if "write" in (option.help or "") and option.type.name == "path" and "folder" not in option.help
    }
    known = {
        f"{leaf} {line.split()[-2]}" for line in OUTPUTS for leaf in LEAVES if line.startswith(f"{leaf} ")
    }
    assert found == known | ELSEWHERE


def test_an_evaluation_takes_no_folder_with_another_report(tmp_path: Path) -> None:
    """Catches `--out .` where somebody's report.html lies."""
    (tmp_path / "report.html").write_text("mine")
    status, out, errors = run("fedpath-hospital evaluate home --out FILE", tmp_path)
    assert (status, out, str(tmp_path / "report.html") in errors) == (Exit.NOT_DONE, "", True)
    (tmp_path / "answers.jsonl").write_text("")
    assert "is there already" not in run("fedpath-hospital evaluate home --out FILE", tmp_path)[2]
    assert (tmp_path / "report.html").read_text() == "mine"
