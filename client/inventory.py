"""All that is known of a folder's slides now: files, scales, patients, quality. What `index` and `check` tell of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from client.data import open_scales
from client.errors import ManifestError
from client.findings import Finding
from client.home import Home
from client.pseudonyms import Pseudonyms
from client.slides.catalogue import Catalogue, Entry, open_catalogue
from client.slides.index import Looking, SlideIndex, index_of, measure_quality, refresh
from client.slides.quality import Quality
from client.slides.scales import Scales
from client.tasks.manifest import slide_patients

_LOOK = "look at it; scan it again, or take its rows out of the manifest"
_SAME_SCALE = 0.05  # two statements of a pixel's size that differ by less are one


@dataclass(frozen=True)
class Place:
    """Where slides, their manifest (None: nobody has said whose they are) and their catalogue lie."""

    slides: Path
    manifest: Path | None
    catalogue: Path
    pseudonyms: Pseudonyms
    scales: Scales

    @classmethod
    def of(cls, home: Home) -> Place:
        """A home's. Raises `ClientError`."""
        settings = home.settings
        return cls(settings.slides, settings.manifest, home.catalogue, home.pseudonyms, open_scales(home))


@dataclass(frozen=True)
class Inventory:
    """Each slide that is known, and what can serve. `unread` is what is wrong with the manifest's file as a whole."""

    entries: Mapping[str, Entry]
    index: SlideIndex
    scales: Scales
    unread: ManifestError | None = None


def take_inventory(place: Place, looking: Looking, measure: bool) -> Inventory:
    """Bring the catalogue up to date: slides and their patients, and with `measure` their quality.

    A slide that is gone, and about which the manifest asks nothing, is forgotten. Raises `ClientError`.
    """
    with open_catalogue(place.catalogue) as catalogue:
        listing = refresh(catalogue, place.slides, place.pseudonyms, looking)
        index = index_of(catalogue.entries(), listing, place.slides, place.scales)
        unread = _take_patients(catalogue, index, place)
        if measure:
            measure_quality(catalogue, index.slides.values(), looking)
        entries = catalogue.entries()
        return Inventory(
            entries, index_of(entries, listing, place.slides, place.scales), place.scales, unread
        )


def _take_patients(catalogue: Catalogue, index: SlideIndex, place: Place) -> ManifestError | None:
    """Note whose each slide is, under a pseudonym; what is wrong with the manifest, where nobody can tell."""
    if place.manifest is None:
        return None
    try:
        patients = slide_patients(place.manifest, index)
    except ManifestError as error:
        return error
    whose = {name: patient and place.pseudonyms.patient(patient) for name, patient in patients.items()}
    entries = catalogue.entries().values()
    catalogue.put(replace(e, patient=whose.get(e.name)) for e in entries if e.patient != whose.get(e.name))
    catalogue.forget(e.name for e in entries if e.gone and e.name not in whose)
    return None


def slide_findings(inventory: Inventory, questions: Mapping[str, int] | None = None) -> Iterator[Finding]:
    """What is to be said of the slides themselves. `questions` counts what is asked about those that were skipped."""
    index, entries = inventory.index, inventory.entries
    for place in index.closed:
        yield Finding(
            "closed-folder", "it can't be listed", f"folder {place}", "give this user the right to read it"
        )
    for name, error in index.skipped.items():
        asked = f"; {count} questions go with it" if (count := (questions or {}).get(name)) else ""
        yield Finding(error.reason, error.what + asked, f"slide {name}", error.advice)
    yield from _copies(index, entries)
    yield from _scales(inventory)
    for name in index.slides:
        if (quality := entries[name].quality) is not None:
            yield from (Finding(f, _told(f, quality), f"slide {name}", _LOOK) for f in quality.flags)
        elif entries[name].flaw:
            what = (
                "not all of it can be read" if entries[name].flaw != "slow" else "it takes very long to read"
            )
            yield Finding("flawed", what, f"slide {name}", "copy it again, or look at it")
    if unmeasured := sum(entries[name].quality is None and not entries[name].flaw for name in index.slides):
        yield Finding(
            "unmeasured",
            f"of {unmeasured} slides focus, ink and tissue were not measured",
            advice="run `fedpath-hospital index`",
        )


def _copies(index: SlideIndex, entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """Slides of the same content; where they are two patients', one person would count as two."""
    groups: dict[str, list[str]] = {}
    for name, first in index.copies.items():
        groups.setdefault(first, [first]).append(name)
    for names in groups.values():
        where = f"slides {', '.join(names)}"
        whose = {patient for name in names if (patient := entries[name].patient) is not None}
        if len(whose) > 1:
            yield Finding(
                "one-slide-two-patients",
                f"the same slide, of {len(whose)} patients ({', '.join(sorted(p[:12] for p in whose))}): one person would "
                "count as several, and privacy is counted by person",
                where,
                "find out whose it is; give all rows about it that patient's key, or keep one copy",
                grave=True,
            )
        else:
            yield Finding("duplicate", "the same slide, under several names", where, "one of them is enough")


def _scales(inventory: Inventory) -> Iterator[Finding]:
    """What `mpp.csv` says in vain, and where it contradicts a slide."""
    for name in inventory.scales.idle(inventory.entries):
        yield Finding(
            "scale-of-nothing",
            "there is no such slide or folder",
            f"{inventory.scales.file}: {name}",
            "mend the name",
        )
    for name, slide in inventory.index.slides.items():
        facts = inventory.entries[name].facts
        stated = facts.mpp if facts else None
        if stated is not None and abs(slide.mpp / stated - 1) > _SAME_SCALE:
            yield Finding(
                "scale-changed",
                f"the file states {stated:.4g} microns per pixel, {inventory.scales.file} says {slide.mpp:.4g}, which counts",
                f"slide {name}",
                "see which is right",
            )


def _told(flag: str, quality: Quality) -> str:
    return {
        "blank": f"it shows hardly any tissue ({quality.tissue_mm2:.3f} mm2)",
        "ink": f"{quality.ink:.0%} of what it shows is pen ink, or stained like it",
        "out-of-focus": f"it is blurred ({quality.blur or 0:.2f}, where sharp slides lie near 0.3)",
    }[flag]
