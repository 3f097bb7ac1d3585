"""Slides on the hospital's page: pictures that stay, reasons of damaged ones, addresses that are no paths, hostile names."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from client.page.draw import THUMBNAIL
from client.page.house import House as Behind
from client.page.pictures import Pictures
from client.slides.catalogue import CatalogueError, read_entries
from tests.unit.client.conftest import House
from tests.unit.client.page_site import Site, make_site

HOSTILE = (
    "<script>alert(1)<\u2215script>.svs",
    "\u202egvs.txt.svs",
    "a\x1b[31mred.svs",
    "{{ 7 * 7 }}.svs",
    "'\" onerror=x.svs",
    "-rf.svs",
)


def indexed(site: Site) -> Site:
    run = [sys.executable, "-c", "from client.cli import app; app()", "index", str(site.house.home.folder)]
    subprocess.run(run, check=True, capture_output=True, timeout=300)
    return site


@pytest.fixture
def slides(tmp_path: Path, data: Path) -> Path:
    """A folder of two drawn slides, which a test may spoil."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for path in sorted((data / "slides").rglob("*.svs"))[:2] or sorted((data / "slides").rglob("*.tiff"))[:2]:
        shutil.copy(path, folder / path.name)
    assert len(list(folder.iterdir())) == 2
    return folder


@pytest.mark.parametrize(
    "key", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "one.svs", "nothing", "%00", "0", "-1", "A" * 3000, "%ff"]
)
def test_a_slide_is_found_by_its_pseudonym_alone(house: Callable[..., House], slides: Path, key: str) -> None:
    """Catches a path, a name or a number in an address that is opened."""
    client = make_site(house(slides=slides)).client()
    for what in ("", "/thumbnail", "/picture"):
        assert client.get(f"/slides/{key}{what}").status_code == 404, what


def test_slides_have_pictures_and_damaged_ones_their_reasons(
    house: Callable[..., House], slides: Path
) -> None:
    """Catches pictures that a browser keeps or that are the file itself, a name in an address, a skipped slide without a word on
    what to do.
    """
    whole = sorted(slides.iterdir())[0]
    (slides / "cut.svs").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (slides / "empty.svs").write_bytes(b"")
    (slides / "broken.svs").write_bytes(b"no slide")
    site = indexed(make_site(house(slides=slides)))
    client = site.client()
    text = client.get("/slides").text
    for words in ("cut.svs", "empty.svs", "broken.svs", "2 can serve, 3 can not", "copy it again", "aperio"):
        assert words in text, words
    served = [entry for entry in read_entries(site.house.home.catalogue).values() if entry.facts is not None]
    assert len(served) == 2
    for entry in served:
        assert entry.name not in entry.key
        small = client.get(f"/slides/{entry.key}/thumbnail")
        assert (small.headers["content-type"], small.headers["cache-control"]) == ("image/jpeg", "no-store")
        assert max(Image.open(io.BytesIO(small.content)).size) <= THUMBNAIL
    assert served[0].name in client.get(f"/slides/{served[0].key}").text
    large = client.get(f"/slides/{served[0].key}/picture")
    assert (large.headers["content-type"], large.headers["cache-control"]) == ("image/png", "no-store")
    picture = Image.open(io.BytesIO(large.content))
    assert max(picture.size) <= 2400
    assert picture.info == {}


def test_hostile_names_are_words(house: Callable[..., House], slides: Path) -> None:
    """Catches a file name that is markup, a template, a control of the terminal or an option of a command."""
    whole = sorted(slides.iterdir())[0]
    for name in HOSTILE:
        shutil.copy(whole, slides / name)
    site = indexed(make_site(house(slides=slides)))
    client = site.client()
    text = client.get("/slides").text
    for raw in ("<script>alert", "\u202e", "\x1b", " onerror=x.svs", "49.svs"):
        assert raw not in text.replace("&#39;&#34; onerror=x.svs", ""), raw
    for entry in read_entries(site.house.home.catalogue).values():
        if entry.name in HOSTILE and entry.facts is not None:
            assert client.get(f"/slides/{entry.key}").status_code == 200, entry.name
            assert client.get(f"/slides/{entry.key}/thumbnail").status_code == 200, entry.name


def test_a_slide_that_went_or_changed_has_no_picture_of_before(
    house: Callable[..., House], slides: Path
) -> None:
    """Catches a picture that outlives its slide, and a page that fails where one went."""
    site = indexed(make_site(house(slides=slides)))
    entry = next(iter(read_entries(site.house.home.catalogue).values()))
    (slides / entry.name).unlink()
    assert site.client().get(f"/slides/{entry.key}/thumbnail").status_code == 503


def test_real_slides_are_shown(house: Callable[..., House], tmp_path: Path, shared_slides: Path) -> None:
    """Catches a page that works on what we draw and not on what scanners write."""
    folder = tmp_path / "real"
    shutil.copytree(shared_slides, folder)
    site = indexed(make_site(house(slides=folder)))
    client = site.client()
    text = client.get("/slides").text
    assert "CMU-1-Small-Region.svs" in text
    assert "bad/truncated.svs" in text
    for slide in Behind(site.house.home).cohort({}).serving:
        small = client.get(f"/slides/{slide.key}/thumbnail")
        assert small.status_code == 200, slide.name
        assert Image.open(io.BytesIO(small.content)).convert("L").getextrema() != (255, 255)


def test_a_catalogue_that_can_not_be_read_is_told_and_left_alone(
    house: Callable[..., House], tmp_path: Path
) -> None:
    """Catches a page that deletes what it can't read, as the commands may."""
    site = make_site(house())
    site.house.home.catalogue.write_bytes(b"no database" * 500)
    with pytest.raises(CatalogueError):
        read_entries(site.house.home.catalogue)
    client = site.client()
    assert "the catalogue can" in client.get("/").text
    assert client.get("/slides").status_code == 503
    assert site.house.home.catalogue.read_bytes() == b"no database" * 500


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (python("import os; os.abort()"), "it crashes"),
        (python("raise SystemExit(1)"), "it says no"),
        (python("pass"), "it draws nothing"),
        (python("import time; time.sleep(600)"), "it hangs"),
        (python("import sys; sys.stdout.buffer.write(bytes(33 << 20))"), "it draws too much"),
    ],
)
def test_a_drawing_that_fails_is_no_picture(command: tuple[str, ...], why: str) -> None:
    pictures = Pictures(command=command, seconds={"thumbnail": 3.0})
    assert pictures.get("thumbnail", "k", "s", {}) is None, why


def test_pictures_are_kept_by_what_they_show_and_bounded() -> None:
    """Catches a cache that grows without end, shows one slide for another, or an old file for a new one."""
    code = "import json, sys; sys.stdout.write(json.load(sys.stdin)['path'] * 40)"
    pictures = Pictures(most_bytes=100, command=python(code))
    drawn = {
        (key, stamp): pictures.get("thumbnail", key, stamp, {"path": word})
        for key, stamp, word in (("a", "1", "x"), ("a", "2", "y"), ("b", "1", "z"))
    }
    assert list(drawn.values()) == [b"x" * 40, b"y" * 40, b"z" * 40]
    assert pictures.get("thumbnail", "b", "1", {"path": "other"}) == b"z" * 40  # kept
    assert pictures.get("thumbnail", "a", "1", {"path": "new"}) == b"new" * 40  # was put out
    assert sum(map(len, pictures._kept.values())) <= 160


def test_so_many_processes_draw_and_no_more(tmp_path: Path) -> None:
    """Catches a page of thumbnails that starts a process for each at once."""
    code = (
        "import json, os, sys, time, pathlib\n"
        "folder = pathlib.Path(json.load(sys.stdin)['path'])\n"
        "mine = folder / str(os.getpid())\n"
        "mine.touch()\n"
        "print(len(list(folder.iterdir())))\n"
        "time.sleep(0.3)\n"
        "mine.unlink()\n"
    )
    pictures, seen = Pictures(command=python(code)), list[int]()

    def ask(number: int) -> None:
        found = pictures.get("thumbnail", str(number), "s", {"path": str(tmp_path)})
        seen.append(int(found or b"99"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 120
    for thread in threads:
        thread.join(max(0.1, end - time.monotonic()))
    assert len(seen) == 6
    assert max(seen) <= 2
