"""What `fedpath-hospital check` says of slides and labels before a campaign does: each thing by a code, with what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from client.check_data import data_findings
from client.cli import app
from client.findings import SHOWN, Finding
from client.home import Home, Settings, create
from client.inventory import Place, take_inventory
from client.slides.index import Looking
from client.tasks.manifest_row import COLUMNS
from tests.aperio import write_slide
from tests.drawn_tissue import GLASS, tissue
from tests.unit.client.conftest import House


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home over slides of every trouble, each asked about by one patient, but for `silent.svs`."""
    slides = tmp_path / "slides"
    slides.mkdir()
    for number, name in enumerate(
        ("good.svs", "blank.svs", "bare.svs", "gone.svs", "silent.svs", "told.svs")
    ):
        blank = np.full((4096, 4096, 3), GLASS, np.uint8)
        image = blank if name == "blank.svs" else tissue(512, seed=number)
        write_slide(slides / name, image, mpp=None if name == "bare.svs" else 0.5, downsamples=())
    shutil.copy(slides / "good.svs", slides / "copy.svs")
    (slides / "empty.svs").touch()
    (slides / "out.svs").symlink_to("/etc/hostname")
    (tmp_path / "mpp.csv").write_text("slide,mpp\ntold.svs,0.25\nnobody.svs,0.25\n")
    made = create(tmp_path / "home", Settings("north", slides, tmp_path / "labels.csv", tmp_path))
    write(
        made,
        *(
            row(name.removesuffix(".svs"), name)
            for name in sorted(p.name for p in slides.iterdir())
            if name not in ("silent.svs", "copy.svs")
        ),
    )
    take_inventory(Place.of(made), Looking(), measure=True)
    (slides / "gone.svs").unlink()
    return made


def row(patient: str, slide: str, task: str = "vqa") -> str:
    return f"{patient},{slide},,,,,{task},Is it?,yes,,"


def write(home: Home, *rows: str) -> None:
    home.settings.manifest.write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")


def found(home: Home) -> list[Finding]:
    return list(data_findings(home, Looking(), None))


def by_code(findings: list[Finding]) -> dict[str, list[str]]:
    codes: dict[str, list[str]] = {}
    for finding in findings:
        codes.setdefault(finding.code, []).append(finding.where)
    return codes


def test_every_trouble_of_slides_is_a_note_with_code_place_and_advice(home: Home) -> None:
    """Catches a slide that is left out in silence, or one that keeps the others from taking part."""
    findings = found(home)
    assert not any(finding.grave for finding in findings)
    assert by_code(findings) == {
        "slides": [""],
        "no-mpp": ["slide bare.svs"],
        "empty": ["slide empty.svs"],
        "gone": ["slide gone.svs"],
        "outside": ["slide out.svs"],
        "duplicate": ["slides copy.svs, good.svs"],
        "scale-of-nothing": ["mpp.csv: nobody.svs"],
        "scale-changed": ["slide told.svs"],
        "blank": ["slide blank.svs"],
        "questions": [""],
        "patients": [""],
        "nothing-asked": ["slide copy.svs", "slide silent.svs"],
        "unlabelled-task": ["", "", ""],
    }
    told = {finding.code: finding for finding in findings}
    assert "1 questions go with it" in told["gone"].what
    assert "mpp.csv" in told["no-mpp"].advice
    assert "0.5" in told["scale-changed"].what
    assert told["questions"].what.startswith("3 questions; 4 more went with skipped slides, 0 with bad rows")
    assert "3 patients with 1 to 1 questions each; 0 have more than the 8" in told["patients"].what


@pytest.mark.parametrize("public", [False, True])
def test_a_home_with_nothing_to_ask_is_not_ready(home: Home, public: bool) -> None:
    """Catches "ready" of a home that draws from nobody: each slide is skipped, or each patient has withdrawn."""
    home.policy_file.write_text(home.policy_file.read_text() + f"public_data = {str(public).lower()}\n")
    write(home, row("p", "good.svs"), row("q", "bare.svs"))
    assert not any(finding.grave for finding in found(home))
    home.withdrawn.write_text("P\n")
    (none,) = [finding for finding in found(home) if finding.grave]
    assert none.what.startswith(
        "0 questions; 1 more went with skipped slides, 0 with bad rows, 1 with patients who"
    )
    home.withdrawn.unlink()
    write(home, row("p", "empty.svs"), row("q", "bare.svs"))
    (none,) = [finding for finding in found(home) if finding.grave]
    assert none.code == "questions"
    assert none.what.startswith("0 questions; 2 more went with skipped slides")
    assert "nothing can be trained on" in none.advice


def test_what_is_wrong_with_the_manifest_is_grave_row_by_row(home: Home) -> None:
    """Catches a campaign that begins with a manifest that no agent reads, and a fault that is told without its place."""
    write(
        home,
        row("p", "good.svs"),
        row("p", "none.svs"),
        row("q", "good.svs"),
        row("p", "good.svs", "?"),
        row("p", "good.svs") + ",,,",
    )
    grave = [finding for finding in found(home) if finding.grave]
    assert by_code(grave) == {
        "manifest-slide": ["manifest, row 3, column slide"],
        "manifest-patient": ["manifest, row 4, column patient"],
        "manifest-task": ["manifest, row 5, column task"],
        "manifest-row": ["manifest, row 6, column (beyond the header)"],
    }
    policy = home.folder / "policy.toml"
    policy.write_text(policy.read_text() + "skip_bad_rows = true\n")
    write(home, row("p", "good.svs"), row("p", "none.svs"), row("r", "told.svs", "?"))
    noted = found(home)
    assert not any(finding.grave for finding in noted)
    assert {"manifest-slide", "manifest-task"} <= set(by_code(noted))
    assert any("1 questions; 0 more went with skipped slides, 2 with bad rows" in f.what for f in noted)


def test_a_manifest_that_is_not_there_is_told_by_its_path(home: Home) -> None:
    """Catches a fault of "row 1" in a file that does not exist."""
    path = home.settings.manifest
    path.unlink()
    (grave,) = [finding for finding in found(home) if finding.grave]
    assert (grave.code, grave.where, grave.what) == ("manifest-file", str(path), "there is no such file")
    assert "row" not in str(grave)


def test_one_slide_of_two_patients_is_grave(home: Home) -> None:
    """Catches a copy under another name that makes two patients of one person."""
    write(home, row("p", "good.svs"), row("q", "copy.svs"))
    codes = by_code([finding for finding in found(home) if finding.grave])
    assert set(codes) == {"one-slide-two-patients", "manifest-patient"}
    assert codes["one-slide-two-patients"] == ["slides copy.svs, good.svs"]


def test_patients_with_more_questions_than_a_step_takes_are_counted(home: Home) -> None:
    """Catches a hospital that labels a hundred questions of one patient and does not know that few are drawn."""
    write(home, *(row("p", "good.svs") for _ in range(9)), row("q", "told.svs"))
    (patients,) = [finding.what for finding in found(home) if finding.code == "patients"]
    assert "2 patients with 1 to 9 questions each; 1 have more than the 8" in patients


def test_tasks_that_the_policy_names_and_nobody_labelled_are_told(home: Home) -> None:
    """Catches a hospital that votes against another one's task because its policy still names all of them."""
    policy = home.folder / "policy.toml"
    named = policy.read_text()
    told = [finding for finding in found(home) if finding.code == "unlabelled-task"]
    assert [finding.advice.split()[1] for finding in told] == ["classification", "detection", "segmentation"]
    kept = re.sub(r"(?m)^tasks = .*$", 'tasks = ["vqa", "detection"]', named)
    policy.write_text(kept)
    (only,) = [finding for finding in found(home) if finding.code == "unlabelled-task"]
    assert "the task detection" in only.what
    assert not only.grave
    policy.write_text(kept + "public_data = true\n")
    assert "unlabelled-task" not in by_code(found(home))


def test_the_command_shows_the_first_of_each_kind_and_json_all(
    house: Callable[..., House], data: Path
) -> None:
    """Catches a terminal of ten thousand lines, and a program that can't tell kinds apart."""
    place = house()
    manifest = place.home.settings.manifest
    own = place.home.folder / "labels.csv"
    lines = manifest.read_text().splitlines()
    own.write_text(
        "\n".join([*lines, *(row("p", f"none-{number}.svs") + "," for number in range(12))]) + "\n"
    )
    toml = place.home.folder / "hospital.toml"
    toml.write_text(toml.read_text().replace(str(manifest), str(own)))
    done = check(place.home)
    assert done.exit_code == 1
    assert done.stdout.count("PROBLEM: manifest, row") == SHOWN
    assert f"and {12 - SHOWN} more of the kind manifest-slide: --json shows all" in done.stdout
    assert "12 problem(s) to mend" in done.stdout
    told: dict[str, Any] = json.loads(check(place.home, "--json").stdout)
    assert len(told["problems"]) == 12
    assert {tuple(problem) for problem in told["problems"]} == {("code", "what", "where", "advice")}
    assert "unmeasured" in [note["code"] for note in told["notes"]]


def check(home: Home, *options: str) -> Result:
    return CliRunner().invoke(app, ["check", str(home.folder), *options])


def test_a_policy_that_can_not_be_read_hides_no_trouble_of_the_data(home: Home) -> None:
    """Catches faults that are found one after the other, each by another run."""
    (home.folder / "policy.toml").write_text("nothing")
    assert {"no-mpp", "empty"} <= set(by_code(found(home)))
