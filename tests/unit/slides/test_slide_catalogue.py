"""The catalogue: nothing is looked at twice, nothing is lost, and no slide costs more than itself."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from client.errors import CrashingSlideError, SlideFolderError
from client.pseudonyms import Pseudonyms
from client.slides.catalogue import Entry, open_catalogue
from client.slides.examine import Facts
from client.slides.examiners import COMMAND, ExaminerError, outlive
from client.slides.files import Listing
from client.slides.index import Looking, SlideIndex, index_of, index_slides, measure_quality, refresh
from client.slides.scales import Scales
from tests.aperio import picture, write_slide

SECRET = Pseudonyms(b"s" * 32)
UNLUCKY = Path(__file__).parents[2] / "unlucky_examiner.py"


class Folder:
    """A folder of slides with its catalogue, and examiners that write down what they look at."""

    def __init__(self, place: Path) -> None:
        self.slides, self.catalogue, self.log = place / "slides", place / "catalogue.db", place / "log"
        self.slides.mkdir()
        command = (sys.executable, str(UNLUCKY), str(self.log))
        self.looking = Looking(workers=2, command=command, facts_s=30.0, quality_s=30.0)

    def write(self, name: str, shade: int = 0, mpp: float | None = 0.5) -> Path:
        path = self.slides / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = picture(200, 130)
        image[..., 2] = shade
        return write_slide(path, image, mpp=mpp, downsamples=())

    def index(self, **changes: object) -> SlideIndex:
        looking = replace(self.looking, **changes)  # type: ignore[arg-type]
        return index_slides(self.slides, self.catalogue, SECRET, looking=looking)

    def entries(self) -> dict[str, Entry]:
        with open_catalogue(self.catalogue) as catalogue:
            return catalogue.entries()

    def looked_at(self) -> list[str]:
        """Which slides were opened since this was asked last."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(line.split()[1] for line in lines if line.startswith("facts "))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def reasons(index: SlideIndex) -> dict[str, str]:
    return {name: error.reason for name, error in index.skipped.items()}


def test_a_process_that_opens_first_dies_in_place_of_the_one_that_asks(folder: Folder) -> None:
    """Catches `ask` and `slide show` that are killed by a file, and a good or plainly bad file taken for one that kills."""
    with pytest.raises(CrashingSlideError):
        outlive(folder.write("crash.svs"), folder.looking.command)
    outlive(folder.write("good.svs"), folder.looking.command)
    bad = folder.write("bad.svs")
    bad.write_bytes(b"no slide")
    outlive(bad, folder.looking.command)


def test_two_who_make_a_catalogue_at_once_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a first `index` that fails with "database is locked" because the agent was started beside it."""
    other = sqlite3.connect(tmp_path / "catalogue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        other.execute("ROLLBACK")

    monkeypatch.setattr("client.slides.catalogue.time.sleep", wait)
    with open_catalogue(tmp_path / "catalogue.db") as catalogue:
        assert catalogue.entries() == {}
    assert len(waited) == 1


def test_what_has_not_changed_is_not_opened_again(folder: Folder) -> None:
    """Catches a network mount that is read from end to end at each start of the agent."""
    for number in range(3):
        folder.write(f"{number}.svs", number)
    first = folder.index()
    assert folder.looked_at() == ["0.svs", "1.svs", "2.svs"]
    assert folder.index() == first
    assert folder.looked_at() == []
    folder.write("1.svs", 99)
    folder.write("new/3.svs", 3)
    (folder.slides / "2.svs").unlink()
    second = folder.index()
    assert folder.looked_at() == ["1.svs", "3.svs"]
    assert list(second.slides) == ["0.svs", "1.svs", "new/3.svs"]
    assert reasons(second) == {"2.svs": "gone"}
    assert second.prints["1.svs"] != first.prints["1.svs"]


def test_a_file_with_the_same_size_and_time_is_opened_where_it_is_another(folder: Folder) -> None:
    """Catches a copy that keeps times (rsync -t, cp -p) taken for the file that it replaced."""
    path = folder.write("a.svs", 1)
    folder.index()
    folder.looked_at()
    before, other = path.stat(), path.with_suffix(".part")
    shutil.copy2(path, other)
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    folder.index()
    assert folder.looked_at() == ["a.svs"]


def test_a_slide_that_comes_back_is_served_unopened_and_one_that_is_gone_stays_known(folder: Folder) -> None:
    """Catches a vanished slide whose rows turn into errors of the manifest, and work that is done again."""
    place = folder.write("2024/a.svs", 1).parent
    folder.write("b.svs", 2)
    folder.index()
    aside = place.rename(place.with_name(".unmounted"))
    assert reasons(folder.index()) == {"2024/a.svs": "gone"}
    assert folder.entries()["2024/a.svs"].gone
    aside.rename(place)
    folder.looked_at()
    assert list(folder.index().slides) == ["2024/a.svs", "b.svs"]
    assert folder.looked_at() == []


def test_a_folder_that_lost_everything_is_an_error_and_not_a_hospital_without_slides(folder: Folder) -> None:
    """Catches an agent that starts over an empty mount point and takes part with nothing."""
    path = folder.write("a.svs")
    folder.index()
    path.unlink()
    with pytest.raises(SlideFolderError, match="is it mounted"):
        folder.index()
    assert not folder.entries()["a.svs"].gone


def test_a_slide_that_could_not_be_read_is_tried_again(folder: Folder) -> None:
    """Catches a slide that stays bad for ever because mending it (a permission, a mount) changed neither size nor time."""
    (folder.slides / "bad.svs").write_bytes(b"no slide")
    folder.write("good.svs")
    folder.index()
    assert folder.looked_at() == ["bad.svs", "good.svs"]
    folder.index()
    assert folder.looked_at() == ["bad.svs"]


def test_a_crash_or_a_hang_costs_that_slide_only_and_is_named(folder: Folder) -> None:
    """Catches a pool that breaks with its first dead worker, a run that never ends, and a slide that kills each agent
    that starts.
    """
    for name in ("a.svs", "crash.svs", "dies-once.svs", "hang.svs", "z.svs"):
        folder.write(name)
    index = folder.index(facts_s=5.0)
    assert list(index.slides) == ["a.svs", "dies-once.svs", "z.svs"]
    assert reasons(index) == {"crash.svs": "crashes", "hang.svs": "slow"}
    assert folder.looked_at().count("crash.svs") == 2, "the first death may be an accident"
    folder.index(facts_s=5.0)
    assert folder.looked_at() == [], "what is deadly is left alone by an agent that starts"
    folder.index(facts_s=1.0, again=True)
    assert set(folder.looked_at()) == {"crash.svs", "hang.svs"}, "and tried again where a person asks for it"


def test_a_slide_that_kills_who_measures_it_serves_no_more(folder: Folder) -> None:
    """Catches a slide whose corners are good and whose middle would end the agent in a round."""
    for name in ("a.svs", "wide.svs"):
        folder.write(name)
    index = folder.index()
    with open_catalogue(folder.catalogue) as catalogue:
        measure_quality(catalogue, index.slides.values(), folder.looking)
    again = folder.index()
    assert list(again.slides) == ["a.svs"]
    assert reasons(again) == {"wide.svs": "crashes"}
    assert folder.entries()["a.svs"].quality is not None


def test_examiners_that_can_not_start_are_no_slides_fault(folder: Folder) -> None:
    """Catches a broken installation that writes off ten thousand good slides."""
    folder.write("a.svs")
    with pytest.raises(ExaminerError, match="can't be started"):
        folder.index(command=(sys.executable, "-c", "raise SystemExit(3)"))
    assert folder.entries() == {}


def test_a_module_that_lies_among_the_slides_is_not_run(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches code of a mounted folder that runs as the agent's user, where IT happens to stand in that folder."""
    folder.write("a.svs")
    (folder.slides / "openslide.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(folder.slides)
    assert list(folder.index(command=COMMAND).slides) == ["a.svs"]


KILLED = """
import sys
from pathlib import Path
from client.pseudonyms import Pseudonyms
from client.slides.index import Looking, index_slides
slides, catalogue, *command = sys.argv[1:]
index_slides(Path(slides), Path(catalogue), Pseudonyms(b"s" * 32), looking=Looking(workers=1, command=tuple(command)))
"""


def test_a_run_that_was_killed_goes_on_where_it_stopped(folder: Folder) -> None:
    """Catches hours of work lost to a kill, and examiners that outlive the process that asked them."""
    names = [f"{number}.svs" for number in range(6)] + ["6-shut.svs", "7.svs", "8.svs"]
    for number, name in enumerate(names):
        folder.write(name, number)
    arguments = (sys.executable, "-c", KILLED, folder.slides, folder.catalogue, *folder.looking.command)
    process = subprocess.Popen([str(argument) for argument in arguments])
    while (
        "6-shut" not in (folder.log.read_text() if folder.log.exists() else "") or len(folder.entries()) < 6
    ):
        assert process.poll() is None
    examiner = psutil.Process(int(folder.log.read_text().split()[-1]))
    process.send_signal(signal.SIGKILL)
    process.wait()
    examiner.wait(30)
    assert folder.looked_at() == names[:7]
    done = list(folder.entries())
    assert done == names[:6], "each was kept as soon as it was known"
    folder.log.with_suffix(".open").touch()
    assert list(folder.index().slides) == names
    assert folder.looked_at() == names[6:]


def test_two_processes_may_index_at_once(folder: Folder) -> None:
    """Catches a catalogue that is locked for whoever comes second, or that one of them spoils."""
    names = [f"{number:02}.svs" for number in range(12)]
    for number, name in enumerate(names):
        folder.write(name, number)
    arguments = (sys.executable, "-c", KILLED, folder.slides, folder.catalogue, *folder.looking.command)
    both = [subprocess.Popen([str(argument) for argument in arguments]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    folder.looked_at()
    assert list(folder.index().slides) == names
    assert folder.looked_at() == []


@pytest.mark.parametrize("spoil", ["text", "cut", "form", "row"])
def test_a_catalogue_that_can_not_be_read_is_made_anew_or_named(folder: Folder, spoil: str) -> None:
    """Catches a hospital that is stopped by a file which can be made again from its slides."""
    folder.write("a.svs")
    before = folder.index()
    with open_catalogue(folder.catalogue) as catalogue:
        connection = catalogue._connection
        if spoil == "form":
            connection.execute("PRAGMA user_version = 99")
        elif spoil == "row":
            connection.execute("UPDATE slides SET facts = '{'")
            connection.commit()
    if spoil == "text":
        folder.catalogue.write_text("not a database at all" * 100)
    elif spoil == "cut":
        folder.catalogue.write_bytes(folder.catalogue.read_bytes()[:5000])
    if spoil == "row":
        with pytest.raises(Exception, match="deleted, it is made anew"):
            folder.index()
        folder.catalogue.unlink()
    assert folder.index() == before


def test_the_catalogue_is_its_users_alone(folder: Folder) -> None:
    """Catches file names, which may be people's, that others on the machine can read, in a log of SQLite's too."""
    folder.write("a.svs")
    folder.catalogue.touch(0o644)
    os.umask(0o022)
    with open_catalogue(folder.catalogue) as catalogue:
        refresh(catalogue, folder.slides, SECRET, folder.looking)
        files = list(folder.catalogue.parent.glob("catalogue.db*"))
        assert len(files) == 3, "the log lies beside it while it is open"
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_copies_are_found_by_all_their_bytes_and_only_likely_ones_are_hashed(folder: Folder) -> None:
    """Catches slides that are taken for copies by a sample of their bytes, and gigabytes hashed for nothing."""
    path = folder.write("a.svs", 1)
    with path.open("ab") as file:
        file.write(bytes(24 << 20))  # more than a fingerprint looks at
    shutil.copy(path, folder.slides / "b.svs")
    near = shutil.copy(path, folder.slides / "c.svs")
    with near.open("r+b") as file:
        file.seek(path.stat().st_size - (1 << 17))  # between two blocks of the fingerprint
        file.write(b"\1")
    folder.write("d.svs", 4)
    index = folder.index()
    assert index.prints["a.svs"] == index.prints["c.svs"]
    assert index.copies == {"b.svs": "a.svs"}
    assert sorted(name for name, entry in folder.entries().items() if entry.content) == [
        "a.svs",
        "b.svs",
        "c.svs",
    ]


def test_copies_are_found_after_a_kill_between_opening_and_hashing(folder: Folder) -> None:
    """Catches copies that go unseen because everything had been opened when the process died."""
    path = folder.write("a.svs")
    shutil.copy(path, folder.slides / "b.svs")
    folder.index()
    with open_catalogue(folder.catalogue) as catalogue:
        catalogue.put(replace(entry, content="") for entry in catalogue.entries().values())
    assert folder.index().copies == {"b.svs": "a.svs"}


def test_files_of_one_dicom_series_are_one_slide() -> None:
    """Catches a slide that counts once for each of its levels, and two patients who own two levels of one slide."""
    facts = Facts("dicom", 512, 256, (1.0, 2.0), 0.25, "", None, "", "f")
    series = {"x/1.dcm": "s1", "x/2.dcm": "s1", "x/3.dcm": "s2", "y/1.dcm": "s1"}
    entries = {
        name: Entry(name, "k", 1, 1, "s", "r", facts=replace(facts, series=of)) for name, of in series.items()
    }
    index = index_of(entries, Listing((), {}, ()), Path("slides"), Scales())
    assert list(index.slides) == ["x/1.dcm", "x/3.dcm", "y/1.dcm"]
    assert index.parts == {"x/2.dcm": "x/1.dcm"}
    assert index.copies == {"y/1.dcm": "x/1.dcm"}


def test_the_number_of_examiners_changes_nothing(folder: Folder) -> None:
    """Catches an index whose order hangs on who was faster."""
    for number in range(20):
        folder.write(f"{number % 3}/{number}.svs", number)
    indexes = [index_slides(folder.slides, pseudonyms=SECRET, looking=Looking(workers=n)) for n in (1, 4)]
    assert indexes[0] == indexes[1]
    assert list(indexes[0].slides) == list(indexes[1].slides) == sorted(indexes[0].slides)
