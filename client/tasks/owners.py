"""Whose each slide is, as all rows of a manifest together have it, and what contradicts that.

A contradiction endangers the unit of privacy: one person who is taken for two moves each sum by twice the clip norm. It
is never resolved by guessing; all rows of the slides and of the patients that it names are suspect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from client.errors import Problem
from client.tasks.manifest_table import Row
from client.tasks.patient import identity

_ALIKE = "spell one patient's key alike in all rows, or make the keys unlike"
_ONE = "a slide has one patient: the patient is what privacy protects"


class Owners:
    """What has been learnt of patients and slides so far, going down the rows.

    `same` names the first of several slides with one content, for each of the others: they are one slide. `listed` are
    the patients there are, None where any key is a patient.
    """

    def __init__(self, same: Mapping[str, str], listed: Collection[str] | None) -> None:
        self._same, self._listed = same, listed
        self._who: dict[str, str] = {}  # a key -> what its spellings have in common
        self._spelt: dict[str, tuple[str, Row]] = {}  # that -> the first spelling, and its row
        self._owner: dict[
            str, tuple[str, str, Row]
        ] = {}  # a content -> whose, the slide and the row that say so
        self._patients: set[str] = set()  # suspect ones
        self._slides: set[str] = set()  # suspect contents

    def take(self, row: Row, slide: str | None) -> Problem | None:
        """Learn from a row about `slide` (None: it names none that there is); the first thing wrong with its patient."""
        patient = row.cells["patient"]
        if not patient:
            return row.problem("patient", "it is empty", "every row belongs to one patient: name them")
        who = self._identity(patient)
        problems = (
            self._misspelt(row, patient, who),
            self._unlisted(row, patient, who, slide),
            self._anothers(row, who, slide) if slide is not None else None,
        )
        return next((problem for problem in problems if problem is not None), None)

    def doubt(self, slide: str | None) -> None:
        """Nobody can say whose row about this slide it was that could not be read."""
        if slide is not None:
            self._slides.add(self._content(slide))

    def suspect(self, patient: str, slide: str) -> bool:
        """Whether a contradiction, in whatever row, names this patient or this slide."""
        return self._identity(patient) in self._patients or self._content(slide) in self._slides

    def _misspelt(self, row: Row, patient: str, who: str) -> Problem | None:
        spelling, first = self._spelt.setdefault(who, (patient, row))
        if spelling == patient:
            return None
        self._patients.add(who)
        return row.problem("patient", f"it is the patient of {first.where} in another spelling", _ALIKE)

    def _unlisted(self, row: Row, patient: str, who: str, slide: str | None) -> Problem | None:
        if self._listed is None or patient in self._listed:
            return None
        self._patients.add(who)
        self.doubt(slide)
        return row.problem("patient", "unknown patient", "add them to patients.csv or mend the name")

    def _anothers(self, row: Row, who: str, slide: str) -> Problem | None:
        owner, named, first = self._owner.setdefault(self._content(slide), (who, slide, row))
        if owner == who:
            return None
        self._patients |= {owner, who}
        self._slides.add(self._content(slide))
        if named == slide:
            what = f"slide {slide!r} belongs to another patient in {first.where}"
        else:
            what = (
                f"slide {slide!r} is the same as {named!r}, which belongs to another patient in {first.where}"
            )
        return row.problem("patient", what, _ONE)

    def _identity(self, patient: str) -> str:
        if patient not in self._who:
            self._who[patient] = identity(patient)
        return self._who[patient]

    def _content(self, slide: str) -> str:
        return self._same.get(slide, slide)
