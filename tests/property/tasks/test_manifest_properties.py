"""Whatever rows a manifest has: read without its bad rows, one person is never two, and nothing is guessed."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from client.errors import ManifestError
from client.slides.index import SlideIndex
from client.slides.slide import Slide
from client.tasks.manifest import Manifest, read_manifest
from client.tasks.manifest_row import COLUMNS
from client.tasks.patient import identity

SLIDES = ("a.svs", "b.svs", "c.svs", "x/d.svs", "y/d.svs")
COPIES = {"b.svs": "a.svs"}
INDEX = SlideIndex({name: Slide(name, Path(name), 0.5, 100, 100, (1.0,)) for name in SLIDES}, copies=COPIES)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(("p", "P", "q", "r", "r ", "\u200bq", "")),
        st.sampled_from((*SLIDES, "d.svs", "none.svs", "")),
        st.sampled_from(("vqa", "vqa", "vqa", "detection", "?")),
    ),
    max_size=12,
)
Rows = list[tuple[str, str, str]]


def read(rows: Rows) -> Manifest | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            for patient, slide, task in rows:
                row = {
                    "patient": patient,
                    "slide": slide,
                    "task": task,
                    "question": "Is it?",
                    "answer": "yes",
                }
                writer.writerow(row)
        try:
            return read_manifest(path, INDEX, skip_bad_rows=True)
        except ManifestError:
            return None


@settings(deadline=None)
@given(rows=ROWS)
def test_one_person_is_never_two(rows: Rows) -> None:
    """Catches a content that two keys own, and two spellings of a key that are both used, in whatever order they come."""
    manifest = read(rows)
    if manifest is None:
        return
    owners: dict[str, set[str]] = {}
    for sample in manifest.samples:
        owners.setdefault(COPIES.get(sample.slide, sample.slide), set()).add(sample.patient)
    assert all(len(patients) == 1 for patients in owners.values())
    used = {sample.patient for sample in manifest.samples}
    assert len({identity(patient) for patient in used}) == len(used)
    assert len(manifest.samples) + manifest.left_out == len(rows)


@settings(deadline=None)
@given(rows=ROWS, more=ROWS)
def test_further_rows_never_bring_back_what_was_left_out(rows: Rows, more: Rows) -> None:
    """Catches a contradiction that is resolved by the majority, by the last word, or by the first."""
    before, after = read(rows), read(rows + more)
    if before is not None and after is not None:
        kept = {(sample.patient, sample.slide) for sample in before.samples}
        stated = {(patient.strip(), slide) for patient, slide, _ in rows}
        then = {(sample.patient, sample.slide) for sample in after.samples}
        left_out = {pair for pair in stated if pair not in kept and ("vqa" in _tasks(rows, pair))}
        assert not left_out & then


def _tasks(rows: Rows, pair: tuple[str, str]) -> set[str]:
    return {task for patient, slide, task in rows if (patient.strip(), slide) == pair}


@settings(deadline=None)
@given(rows=ROWS)
def test_the_order_of_rows_does_not_say_who_is_used(rows: Rows) -> None:
    """Catches the first row's word that is taken for true."""
    forward, backward = read(rows), read(rows[::-1])
    assert (forward is None) == (backward is None)
    if forward is not None and backward is not None:
        assert sorted(forward.samples, key=repr) == sorted(backward.samples, key=repr)
