"""`fedpath-hospital index`: the catalogue of a hospital's slides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli_errors import told_plainly
from privacy.command_line import plain, progress

if TYPE_CHECKING:
    from client.inventory import Inventory, Place


def index(
    place: Annotated[Path, typer.Argument(help="a home, or a folder of slides", readable=False)] = Path(),
    manifest: Annotated[
        Path | None, typer.Option(help="the labels, which say whose each slide is; by default the home's")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="the home that keeps the catalogue of a folder; by default the folder you are in",
            readable=False,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="how many processes look at slides; by default one a core")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object, with every slide")] = False,
) -> None:
    """Look at every slide that is new or has changed, and say which can't serve, which are blurred, inked or blank, and
    which are there twice.

    Works before `init` too. Killed, it goes on where it stopped; nothing is written into the folder of slides.
    """
    from client.findings import in_short
    from client.inventory import slide_findings, take_inventory
    from client.slides.examiners import usable_cores
    from client.slides.index import Looking

    with told_plainly():
        where = _place(place.absolute(), manifest, home)
        with progress() as tell:
            looking = Looking(workers=workers or usable_cores(), again=True, tell=tell)
            found = take_inventory(where, looking, measure=True)
    findings = [*slide_findings(found)]
    counts = _counts(found)
    if as_json:
        told = {**counts, "findings": [finding.to_dict() for finding in findings], "slides": _slides(found)}
        typer.echo(json.dumps({"catalogue": str(where.catalogue), **told}))
        return
    for line in in_short(findings):
        typer.echo(plain(line))
    if found.unread is not None:
        typer.echo(f"whose the slides are is not known: {plain(str(found.unread))}", err=True)
    words = (
        "{can_serve} slides can serve, {can_not_serve} can't, {gone} are gone; {flagged} are flagged, {copies} are copies "
        "of others"
    )
    typer.echo(plain(f"{words.format(**counts)}; kept in {where.catalogue}"))


def _place(place: Path, manifest: Path | None, home: Path | None) -> Place:
    """Where to look and where to keep what was seen: as a home says, or as the command does. Raises `HomeError`."""
    from client.errors import HomeError, SlideFolderError
    from client.home import Home
    from client.inventory import Place
    from client.slides.scales import FILE, Scales, read_scales

    is_home = (place / "hospital.toml").exists()
    if is_home and home is not None:
        raise HomeError(f"{place}: is a home itself: give it alone, or a folder of slides and --home")
    keeper = Home(place if is_home else (home or Path()).absolute())
    joined = (keeper.folder / "hospital.toml").exists()
    slides = keeper.settings.slides if is_home else place
    if not slides.is_dir():
        raise SlideFolderError(slides)  # before anything is made for it
    if joined and slides.resolve() != keeper.settings.slides.resolve():
        raise HomeError(
            f"{keeper.folder}: is the home of {keeper.settings.slides}: give it alone, or another --home for {slides}"
        )
    if keeper.folder.resolve().is_relative_to(slides.resolve()):
        raise HomeError(
            f"{keeper.folder}: lies in the folder of slides, where nothing is ever written: give --home, the folder that "
            "is, or is to become, the hospital's home"
        )
    labels = manifest or (keeper.settings.manifest if joined else None)
    keeper.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    scales = Scales() if labels is None else read_scales(labels.with_name(FILE))
    return Place(slides, labels, keeper.catalogue, keeper.pseudonyms, scales)


def _counts(found: Inventory) -> dict[str, int]:
    index, entries = found.index, found.entries
    gone = sum(entry.gone for entry in entries.values())
    flagged = sum(bool(e.quality and e.quality.flags) for name, e in entries.items() if name in index.slides)
    return {
        "can_serve": len(index.slides),
        "can_not_serve": len(index.skipped) - gone,
        "gone": gone,
        "flagged": flagged,
        "copies": len(index.copies),
    }


def _slides(found: Inventory) -> list[dict[str, Any]]:
    """Every slide that is or was there, in the order of names."""
    index = found.index
    return [
        {
            "name": name,
            "key": entry.key,
            "patient": entry.patient,
            "reason": index.skipped[name].reason if name in index.skipped else None,
            "part_of": index.parts.get(name),
            "copy_of": index.copies.get(name),
            "bytes": entry.size,
            "sha256": entry.content or None,
            "vendor": entry.facts and entry.facts.vendor,
            "width": entry.facts and entry.facts.width,
            "height": entry.facts and entry.facts.height,
            "levels": entry.facts and len(entry.facts.downsamples),
            "objective": entry.facts and entry.facts.objective,
            "mpp": index.slides[name].mpp if name in index.slides else None,
            "mpp_stated": entry.facts and entry.facts.mpp,
            "tissue_mm2": entry.quality and entry.quality.tissue_mm2,
            "ink": entry.quality and entry.quality.ink,
            "blur": entry.quality and entry.quality.blur,
            "flags": list(entry.quality.flags) if entry.quality else [],
            "flaw": entry.flaw or None,
        }
        for name, entry in found.entries.items()
    ]
