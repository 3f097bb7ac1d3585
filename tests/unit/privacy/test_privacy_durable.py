"""The writer of whole files: killed anywhere, led astray, out of room."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privacy import durable

OLD, NEW = b"old", b"new" * 100_000

KILLED_AT_A_LINE = """
import os, signal, sys
from pathlib import Path
from privacy import durable

left = int(sys.argv[2])

def trace(frame, event, argument):
    global left
    if frame.f_code.co_filename != durable.__file__:
        return None
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace

sys.settrace(trace)
durable.replace(Path(sys.argv[1]), b"new" * 100_000)
"""


def test_killed_before_any_of_its_lines_it_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    """Catches a file that is written in place, emptied first, or away for an instant."""
    path, found = tmp_path / "file", []
    for line in itertools.count(1):
        path.write_bytes(OLD)
        child = [sys.executable, "-c", KILLED_AT_A_LINE, str(path), str(line)]
        code = subprocess.run(child, check=False).returncode
        found.append(path.read_bytes())
        for left in tmp_path.glob("*.part"):
            left.unlink()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    changed = found.index(NEW)
    assert set(found[:changed]) == {OLD}
    assert set(found[changed:]) == {NEW}
    assert changed > 5, "the kills came too late to see anything"


def test_bytes_are_on_the_disk_before_they_take_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a file that a power cut leaves empty, and a new name that it takes away again."""
    path, synced = tmp_path / "file", []
    path.write_bytes(OLD)
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        fsync(descriptor)
        synced.append(("folder" if folder else os.fstat(descriptor).st_size, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", watch)
    durable.replace(path, NEW)
    assert synced == [(len(NEW), OLD), ("folder", NEW)]


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path, there: bool) -> None:
    """Catches what is written through a link that somebody else put there."""
    precious, path = tmp_path / "precious", tmp_path / "file"
    if there:
        precious.write_bytes(OLD)
    path.symlink_to(precious)
    durable.replace(path, NEW)
    assert not path.is_symlink()
    assert path.read_bytes() == NEW
    assert precious.exists() == there
    assert not there or precious.read_bytes() == OLD


def test_a_link_under_the_name_that_it_writes_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a writer that a foreseen name could lead elsewhere."""
    precious, path = tmp_path / "precious", tmp_path / "file"
    precious.write_bytes(OLD)
    monkeypatch.setattr(secrets, "token_hex", lambda size: "foreseen")
    (tmp_path / "file.foreseen.part").symlink_to(precious)
    with pytest.raises(FileExistsError):
        durable.replace(path, NEW)
    assert precious.read_bytes() == OLD
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o600, 0o644], ids=oct)
def test_it_has_its_mode_whatever_stood_there(tmp_path: Path, mode: int) -> None:
    """Catches a private file that others may read because the old one, or the one in the making, let them."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    path.chmod(0o666)
    before = os.umask(0o022)
    try:
        durable.replace(path, NEW, mode)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_where_it_fails_the_old_file_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches parts that fill a disk which is full already."""
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace(path, NEW)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == OLD


def test_what_a_dead_writer_left_goes_once_it_is_a_day_old(tmp_path: Path) -> None:
    """Catches patients' answers that pile up in files nobody lists, and a living writer's file taken from it."""
    dead, living, other = (tmp_path / f"{name}.part" for name in ("a[1].0f", "a[1].1f", "a1.0f"))
    for path in (dead, living, other):
        path.write_bytes(b"half")
    for path in (dead, other):
        os.utime(path, (0, 0))
    durable.replace(tmp_path / "a[1]", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1]", living.name, other.name}
