"""docs/howto/import-labels.md shows files that are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.imports.labels_csv import read_mapping
from client.imports.questions import read_questions

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "import-labels.md").read_text(encoding="utf-8")


def test_the_files_of_the_page_are_read(tmp_path: Path) -> None:
    """Catches a page that describes other files than those which are read."""
    for name, text in zip(
        ("q.toml", "m.toml"), re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL), strict=True
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    questions = read_questions(tmp_path / "q.toml")
    assert [questions.word(label) for label in ("Tumor", "Artefact", "", "Stroma")] == [
        "tumour",
        "",
        "nucleus",
        "Stroma",
    ]
    assert questions.ask("count", "gland") == "How many glands are there?"
    assert questions.ask("count", "tumour") == ""
    assert questions.ask("segmentation", "tumour") == "Outline the tumour."
    mapping = read_mapping(tmp_path / "m.toml")
    assert mapping.columns == ("File", "Case", "Diagnosis", "Note")
    assert [(a.task, a.closed) for a in mapping.asked] == [("classification", True), ("vqa", False)]


@pytest.mark.parametrize("command", ["coco", "qupath", "csv"])
def test_the_page_names_every_option(command: str) -> None:
    """Catches an option that only the code knows."""
    told = (
        CliRunner()
        .invoke(app, ["import", command, "--help"], env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"})
        .stdout
    )
    assert f"import {command}" in PAGE
    for option in set(re.findall(r"--[a-z-]+", told)) - {"--help"}:
        assert option in PAGE, option
