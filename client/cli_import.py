"""`fedpath-hospital import`: a manifest out of what a department has already."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.command_line import Exit, failed, plain, progress

if TYPE_CHECKING:
    from client.imports.manifest_file import Imported
    from client.imports.run import Asking
    from client.imports.slides import SlideNames
    from privacy.progress import Tell

Slides = Annotated[
    Path, typer.Option(help="a home, or a folder of slides, that the labels are about", readable=False)
]
Out = Annotated[Path, typer.Option(help="the manifest to write, .csv; it must not be there yet")]
Table = Annotated[Path | None, typer.Option("--patients", help="CSV with columns slide and patient")]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--patient-pattern", help="regular expression: its first group in the slide's path is the patient"
    ),
]
Templates = Annotated[
    Path | None, typer.Option("--questions", help="TOML with templates and names of classes")
]
Side = Annotated[
    int | None, typer.Option("--field", min=1, help="cut regions into parts of about so many pixels")
]
Present = Annotated[bool, typer.Option("--only-present", help="ask nothing whose answer is none")]
Skip = Annotated[bool, typer.Option("--skip", help="leave out what is wrong and write the rest")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def coco(
    file: Annotated[Path, typer.Argument(help="COCO's object detection JSON")],
    slides: Slides,
    out: Out,
    patients: Table = None,
    patient_pattern: Pattern = None,
    questions: Templates = None,
    field: Side = None,
    only_present: Present = False,
    skip: Skip = False,
    as_json: Json = False,
) -> None:
    """Boxes, polygons and masks of COCO JSON; each image is a slide."""
    from client.imports.run import import_coco

    def work(known: SlideNames, tell: Tell) -> Imported:
        asking = _asking(known, patients, patient_pattern, questions, field, only_present)
        return import_coco(file, known, asking, out, skip, tell)

    _run(work, slides, out, as_json)


def qupath(
    place: Annotated[Path, typer.Argument(help="a GeoJSON file, or a folder of them, named as their slides")],
    slides: Slides,
    out: Out,
    patients: Table = None,
    patient_pattern: Pattern = None,
    questions: Templates = None,
    regions: Annotated[str, typer.Option(help="the class that marks what is fully annotated")] = "Region*",
    field: Side = None,
    only_present: Present = False,
    skip: Skip = False,
    as_json: Json = False,
) -> None:
    """Annotations and detections of QuPath's GeoJSON."""
    from client.imports.run import import_qupath

    def work(known: SlideNames, tell: Tell) -> Imported:
        asking = _asking(known, patients, patient_pattern, questions, field, only_present)
        return import_qupath(place, regions, known, asking, out, skip, tell)

    _run(work, slides, out, as_json)


def csv(
    file: Annotated[Path, typer.Argument(help="a table with one row a slide")],
    mapping: Annotated[Path, typer.Option(help="TOML that says which column answers what")],
    slides: Slides,
    out: Out,
    skip: Skip = False,
    as_json: Json = False,
) -> None:
    """Labels of whole slides."""
    from client.imports.run import import_labels

    _run(lambda known, tell: import_labels(file, mapping, known, out, skip, tell), slides, out, as_json)


def _asking(
    known: SlideNames,
    table: Path | None,
    pattern: str | None,
    questions: Path | None,
    side: int | None,
    only_present: bool,
) -> Asking:
    from client.imports.found import ImportProblem, ImportSourceError
    from client.imports.questions import Questions, read_questions
    from client.imports.run import Asking
    from client.imports.slides import patients_by_pattern, patients_by_table

    if table is not None and pattern is None:
        patients = patients_by_table(table, known)
    elif pattern is not None and table is None:
        patients = patients_by_pattern(pattern)
    else:
        what = "privacy is counted by patient, and nobody says whose the slides are"
        raise ImportSourceError(
            [ImportProblem("the command", what, "give one of --patients, --patient-pattern")]
        )
    return Asking(read_questions(questions) if questions else Questions(), patients, side, only_present)


def _run(work: Callable[[SlideNames, Tell], Imported], slides: Path, out: Path, as_json: bool) -> None:
    """Tell what was written, or everything that is wrong."""
    from client.errors import ClientError
    from client.imports.found import ImportProblem, ImportSourceError
    from client.imports.run import open_slides

    try:
        with progress() as tell:
            done = work(open_slides(slides, out, tell), tell)
    except ClientError as error:
        if as_json:
            told = ImportProblem("", str(error), "")
            problems = error.problems if isinstance(error, ImportSourceError) else (told,)
            typer.echo(json.dumps({"written": False, "problems": [*map(asdict, problems)]}))
            raise typer.Exit(Exit.NOT_DONE) from None
        raise failed(str(error)) from None
    if as_json:
        typer.echo(json.dumps({"written": True} | asdict(done)))
        return
    for problem in done.problems:
        typer.echo(f"left out: {plain(str(problem))}", err=True)
    tasks = ", ".join(f"{count} {task}" for task, count in done.tasks.items())
    typer.echo(f"{done.rows} questions ({tasks}) about {done.slides} slides of {done.patients} patients")
