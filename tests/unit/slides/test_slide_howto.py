"""docs/howto/index-slides.md names the commands, options, codes, formats and thresholds that are there."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from client.cli import app
from client.errors import SlideError, slide_error
from client.slides import quality
from client.slides.files import SUFFIXES
from client.slides.scales import read_scales

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "howto" / "index-slides.md").read_text("utf-8")


def test_each_line_can_be_typed() -> None:
    """Catches a page that tells of an option that was renamed, or leaves one out."""
    command = get_command(app).commands["index"]  # type: ignore[attr-defined]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert set(re.findall(r"--[a-z][a-z-]*", PAGE)) == options
    assert len(re.findall(r"^    fedpath-hospital index ", PAGE, re.MULTILINE)) == 3


def reasons(kind: type[SlideError]) -> set[str]:
    own = {kind.reason} if hasattr(kind, "reason") else set()
    return own.union(*(reasons(sub) for sub in kind.__subclasses__()))


def test_every_code_and_format_is_on_the_page() -> None:
    """Catches a reason that a person meets and finds nowhere."""
    told = set(re.findall(r"`([a-z-]+)`", PAGE))
    assert reasons(SlideError) <= told
    assert all(slide_error(reason, "a.svs").reason == reason for reason in reasons(SlideError))
    source = (ROOT / "client" / "inventory.py").read_text("utf-8")
    codes = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source)) | {"out-of-focus", "ink", "blank"}
    assert {"duplicate", "one-slide-two-patients", "unmeasured"} < codes <= told
    assert set(re.findall(r"`(\.[a-z]+)`", PAGE)) == SUFFIXES


def test_the_thresholds_are_those_of_the_code(tmp_path: Path) -> None:
    """Catches a threshold that was changed in one place, and a file of scales that the reader refuses."""
    assert f"above {quality.BLURRED:g}" in PAGE
    assert f"above {quality.INKED:.0%}".replace("%", " %") in PAGE
    assert f"below {quality.LEAST_TISSUE_MM2:g} mm" in PAGE
    assert f"fields of {quality.FIELD * quality.BLUR_MPP:g} µm" in PAGE
    (tmp_path / "mpp.csv").write_text(PAGE.split("```csv\n")[1].split("```")[0])
    scales = read_scales(tmp_path / "mpp.csv")
    assert scales.of(["2024/case-7/a.svs", "scanner-b/1.svs", "b.svs"]) == {
        "2024/case-7/a.svs": 0.2527,
        "scanner-b/1.svs": 0.5,
        "b.svs": 0.25,
    }
