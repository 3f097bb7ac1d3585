"""All slides of a folder: those that can serve, and those that can't with the reason.

The catalogue is brought up to date on the way: only what is new or has changed is opened, in processes of its own. What
is found is kept slide by slide, so that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import openslide

from client.errors import (
    CrashingSlideError,
    SlideError,
    SlideFolderError,
    SlowSlideError,
    UnreadableSlideError,
    VanishedSlideError,
    slide_error,
)
from client.pseudonyms import Pseudonyms
from client.slides.catalogue import Catalogue, Entry, facts_of, open_catalogue
from client.slides.examiners import COMMAND, FACTS_S, Answer, Examiners, Job, usable_cores
from client.slides.files import Listing, SlideFile, list_slides
from client.slides.quality import Quality
from client.slides.scales import Scales
from client.slides.slide import Slide
from privacy.progress import Tell, quietly

READER = f"2/{openslide.__library_version__}"  # another one looks at everything anew; count up where reading changes
_QUALITY_S = 300.0  # for an overview and some fields
_HASHED_A_SECOND = 5e6  # bytes, of a slow mount
_FEW = 8  # slides that are opened before a further process has started
T = TypeVar("T")
_DEADLY = (CrashingSlideError.reason, SlowSlideError.reason)


@dataclass(frozen=True)
class Looking:
    """How slides are looked at: by how many processes, of which command, and who hears of it.

    `again` also looks at slides that crashed or hung the last process that looked at them.
    """

    workers: int = field(default_factory=usable_cores)
    again: bool = False
    tell: Tell = quietly
    command: tuple[str, ...] = COMMAND
    facts_s: float = FACTS_S
    quality_s: float = _QUALITY_S


@dataclass(frozen=True)
class SlideIndex:
    """Slides by their path inside the folder, and the error of each slide that was skipped, likewise.

    `parts` names the slide that a further DICOM file belongs to; `copies` the first slide that has the same content, for
    each of those that are there more than once; `keys` a pseudonym for each slide, for where its name must not stand;
    `prints` the fingerprint of each that can serve. `closed` are subfolders that can't be listed.
    """

    slides: Mapping[str, Slide]
    skipped: Mapping[str, SlideError] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    prints: Mapping[str, str] = field(default_factory=dict)
    closed: tuple[str, ...] = ()


def index_slides(
    folder: Path,
    catalogue: Path | None = None,
    pseudonyms: Pseudonyms | None = None,
    scales: Scales | None = None,
    looking: Looking | None = None,
) -> SlideIndex:
    """Bring the catalogue up to date and give what can serve; a bad slide is skipped, never fatal.

    Without a catalogue everything is looked at, and nothing kept. Raises SlideFolderError if `folder` can't be listed or
    lost all its slides, ScalesError, CatalogueError.
    """
    with open_catalogue(catalogue) as known:
        listing = refresh(known, folder, pseudonyms or Pseudonyms.passing(), looking or Looking())
        return index_of(known.entries(), listing, folder, scales or Scales())


def refresh(catalogue: Catalogue, folder: Path, pseudonyms: Pseudonyms, looking: Looking) -> Listing:
    """Bring the catalogue up to date with the folder: what is new, changed or gone, and what is there twice.

    A slide that could not be read is tried again each time, for that costs little and it may have been mended; unless
    it killed the process that read it, or kept it waiting. Raises SlideFolderError, CatalogueError, ExaminerError.
    """
    looking.tell("looking through the folder", 0, 1)
    listing = list_slides(folder)
    known = catalogue.entries()
    there = {file.name for file in listing.files}
    if not there and (before := sum(not entry.gone for entry in known.values())):
        raise SlideFolderError(
            folder,
            f"it holds no slide, and {before} were there: is it mounted, and the right one? If it is to be empty, delete "
            "the catalogue",
        )
    moved = [entry for entry in known.values() if entry.gone == (entry.name in there)]
    catalogue.put(replace(entry, gone=not entry.gone) for entry in moved)
    to_open = [file for file in listing.files if _to_open(known.get(file.name), file, looking.again)]
    for file, answer in _asked(
        "opening slides",
        [(file, {"job": "facts", "path": str(file.path)}, looking.facts_s) for file in to_open],
        -(-len(to_open) // _FEW),
        looking,
    ):
        entry = _looked_at(file, answer, known.get(file.name), pseudonyms)
        catalogue.put([entry] if entry != known.get(file.name) else [])
    entries = catalogue.entries()
    likely = _likely_copies(entries)
    for file, answer in _asked(
        "comparing copies",
        [
            (file, {"job": "content", "files": [str(part) for part in file.files]}, _hash_seconds(file))
            for file in listing.files
            if file.name in likely
        ],
        looking.workers,
        looking,
    ):
        catalogue.put([replace(entries[file.name], content=answer.get("found", ""))])
    return listing


def measure_quality(catalogue: Catalogue, slides: Iterable[Slide], looking: Looking) -> None:
    """Measure the quality of each slide that has not been measured since it changed or its scale did.

    One that can't be measured keeps the reason; one that kills the process that measures it can't serve from now on.
    Raises CatalogueError, ExaminerError.
    """
    known = catalogue.entries()
    jobs = [
        (slide, {"job": "quality", "path": str(slide.path), "mpp": slide.mpp}, looking.quality_s)
        for slide in slides
        if _to_measure(known[slide.name], slide.mpp, looking.again)
    ]
    for slide, answer in _asked("measuring quality", jobs, looking.workers, looking):
        catalogue.put([_measured(known[slide.name], answer)])


def index_of(entries: Mapping[str, Entry], listing: Listing, folder: Path, scales: Scales) -> SlideIndex:
    """What the catalogue's entries amount to, under these scales. Raises ScalesError."""
    mpp = scales.of(entries)
    slides: dict[str, Slide] = {}
    skipped: dict[str, SlideError] = dict(listing.refused)
    parts: dict[str, str] = {}
    first: dict[tuple[str, str], str] = {}  # folder and DICOM series -> the first file of it
    for name, entry in entries.items():
        facts = entry.facts
        if entry.gone:
            shut = any(name.startswith(f"{place}/") for place in listing.closed)
            skipped.setdefault(name, UnreadableSlideError(name) if shut else VanishedSlideError(name))
        elif facts is None:
            skipped[name] = slide_error(entry.reason, name)
        elif facts.series and first.setdefault((name.rpartition("/")[0], facts.series), name) != name:
            parts[name] = first[name.rpartition("/")[0], facts.series]
        elif (scale := mpp.get(name, facts.mpp)) is None:
            skipped[name] = slide_error(facts.unscaled, name)
        else:
            slides[name] = Slide(name, folder / name, scale, facts.width, facts.height, facts.downsamples)
    alike: dict[str, str] = {}
    copies = {
        name: alike[same]
        for name in slides
        if (same := _content(entries[name])) and alike.setdefault(same, name) != name
    }
    return SlideIndex(
        slides,
        dict(sorted(skipped.items())),
        parts,
        copies,
        {name: entry.key for name, entry in entries.items()},
        {name: entry.facts.fingerprint for name, entry in entries.items() if name in slides and entry.facts},
        listing.closed,
    )


def _to_open(known: Entry | None, file: SlideFile, again: bool) -> bool:
    if known is None or known.stamp != file.stamp or known.reader != READER:
        return True
    return known.facts is None and (again or known.reason not in _DEADLY)


def _to_measure(known: Entry, mpp: float, again: bool) -> bool:
    if known.quality is not None:
        return known.quality.mpp != mpp
    return again or not known.flaw


def _asked(
    what: str, jobs: Sequence[tuple[T, Job, float]], most: int, looking: Looking
) -> Iterator[tuple[T, Answer]]:
    """The answers of a team of examiners, while it is told how far they have come."""
    if not jobs:
        return
    with Examiners(min(looking.workers, most, len(jobs)), looking.command) as examiners:
        looking.tell(what, 0, len(jobs))
        for done, answered in enumerate(examiners.answers(jobs), start=1):
            yield answered
            looking.tell(what, done, len(jobs))


def _looked_at(file: SlideFile, answer: Answer, before: Entry | None, pseudonyms: Pseudonyms) -> Entry:
    """The entry of a slide that was just opened: whose it is stays, all else is new."""
    entry = Entry(
        name=file.name,
        key=pseudonyms.slide(file.name),
        size=file.size,
        modified=file.modified,
        stamp=file.stamp,
        reader=READER,
        patient=before.patient if before else None,
    )
    if "reason" in answer:
        return replace(entry, reason=answer["reason"])
    facts = facts_of(answer["found"])
    return replace(entry, facts=replace(facts, series=facts.series and pseudonyms.series(facts.series)))


def _measured(known: Entry, answer: Answer) -> Entry:
    if "found" in answer:
        return replace(known, quality=Quality(**answer["found"]), flaw="")
    reason = answer["reason"]
    if reason == CrashingSlideError.reason:
        return replace(known, reason=reason, facts=None, quality=None)
    return replace(known, quality=None, flaw=reason)


def _likely_copies(entries: Mapping[str, Entry]) -> set[str]:
    """Slides that have another's size and fingerprint, and no hash of all their bytes yet."""
    groups: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries.values():
        if entry.facts is not None and not entry.gone and not entry.facts.series:
            groups.setdefault((entry.size, entry.facts.fingerprint), []).append(entry)
    alike = (entry for group in groups.values() if len(group) > 1 for entry in group)
    return {entry.name for entry in alike if not entry.content}


def _hash_seconds(file: SlideFile) -> float:
    return FACTS_S + file.size / _HASHED_A_SECOND


def _content(entry: Entry) -> str:
    """What two slides share if they are the same: a hash of all bytes, or a DICOM series."""
    return entry.content or (entry.facts.series if entry.facts else "")
