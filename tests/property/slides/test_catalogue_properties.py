"""Whatever happens to a folder of slides, the catalogue that was carried along says what one made anew would say."""

from __future__ import annotations

import os
import shutil
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.pseudonyms import Pseudonyms
from client.slides.index import Looking, SlideIndex, index_slides
from client.slides.names import FileNames
from client.slides.scales import Scales
from tests.aperio import picture, write_slide

SECRET = Pseudonyms(b"s" * 32)
PLACES = ("a.svs", "b.svs", "x/a.svs", "x/c.svs", "x/y/a.svs")
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(("write", "write", "copy", "cut", "delete", "move", "link", "index")),
        st.sampled_from(PLACES),
        st.sampled_from(PLACES),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
)


def do(slides: Path, deed: str, one: Path, other: Path, shade: int) -> None:
    for path in (one, other):
        path.parent.mkdir(parents=True, exist_ok=True)
    if deed == "write":
        image = picture(96, 64)
        image[..., 2] = 50 * shade
        one.unlink(missing_ok=True)
        write_slide(one, image, mpp=None if shade == 3 else 0.5, downsamples=())
    elif deed == "link":
        one.unlink(missing_ok=True)
        one.symlink_to(other if shade else slides.parent / "outside.svs")
    elif deed == "delete":
        one.unlink(missing_ok=True)
    elif not one.is_file():
        return
    elif deed == "cut":
        data = one.read_bytes()
        one.write_bytes(data[: len(data) * shade // 3])
    elif os.path.realpath(one) != os.path.realpath(other):  # which bears a link to itself
        other.unlink(missing_ok=True)
        shutil.copy(one, other) if deed == "copy" else one.rename(other)


def now(index: SlideIndex) -> tuple[object, ...]:
    """All but what only a catalogue that was there before can know: slides that are gone."""
    reasons = {name: error.reason for name, error in index.skipped.items() if error.reason != "gone"}
    return index.slides, reasons, index.copies, index.prints


@settings(max_examples=15, deadline=None)
@given(deeds=DEEDS)
@example(deeds=[("write", "a.svs", "a.svs", 0), ("link", "b.svs", "b.svs", 1), ("copy", "a.svs", "b.svs", 0)])
def test_a_catalogue_that_was_carried_along_is_one_made_anew(deeds: list[tuple[str, str, str, int]]) -> None:
    """Catches a change that no stamp shows, a copy that is remembered after its twin went, a reason that outlives the
    fault, and a slide that is served after it was replaced.
    """
    with tempfile.TemporaryDirectory() as place:
        slides, catalogue = Path(place) / "slides", Path(place) / "catalogue.db"
        slides.mkdir()
        write_slide(slides / "z.svs", picture(96, 64), downsamples=())  # never is the folder empty
        for deed, one, other, shade in deeds:
            if deed == "index":
                index_slides(slides, catalogue, SECRET, looking=Looking(workers=1))
            else:
                do(slides, deed, slides / one, slides / other, shade)
        carried = index_slides(slides, catalogue, SECRET, looking=Looking(workers=1))
        anew = index_slides(slides, None, SECRET, looking=Looking(workers=1))
        assert now(carried) == now(anew)


LETTERS = st.text(st.sampled_from("aeé\u0301/ü."), min_size=1, max_size=6)


@given(names=st.sets(LETTERS, max_size=8), written=LETTERS)
def test_a_written_name_is_never_taken_for_a_slide_that_it_does_not_name(
    names: set[str], written: str
) -> None:
    """Catches a slide found by a part of its name, and one of several that is chosen."""
    found = FileNames(names).find(written)
    assert set(found) <= names
    composed = unicodedata.normalize("NFC", written)
    for name in found:
        path = unicodedata.normalize("NFC", name)
        assert composed in (path, path.rpartition("/")[2])
    if written in names:
        assert found == (written,)
    exact = {name for name in names if unicodedata.normalize("NFC", name) == composed}
    assert written in names or not exact or set(found) == exact


FOLDERS = st.sampled_from(("x", "x/y", "x/y/z", "xy", "."))


@given(
    folders=st.dictionaries(FOLDERS, st.floats(0.1, 2)),
    slide=st.sampled_from(("a", "x/a", "x/y/a", "x/y/z/a", "xy/a")),
)
def test_the_innermost_folder_that_is_named_gives_the_scale(folders: dict[str, float], slide: str) -> None:
    """Catches a folder whose name begins like another's, and an outer one that wins."""
    scales = Scales(folders={name: (mpp, 2) for name, mpp in folders.items()})
    holds = [name for name in folders if name == "." or slide.startswith(f"{name}/")]
    innermost = max(holds, key=lambda name: -1 if name == "." else len(name), default=None)
    assert scales.of([slide]) == ({} if innermost is None else {slide: folders[innermost]})
