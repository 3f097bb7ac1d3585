"""The cache of visual features: whole entries or none, bounded, whoever else writes to it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.model.feature_cache import FeatureCache, feature_key
from client.model.visual import Visual

TOKENS, WIDTH = 6, 32


def visual(number: int, dtype: torch.dtype = torch.float32) -> Visual:
    """A region's features, fixed by its number."""
    random = np.random.default_rng(number)
    layers = [torch.from_numpy(random.standard_normal((TOKENS, WIDTH))).to(dtype) for _ in range(3)]
    return Visual(layers[0], tuple(layers[1:]), (2, 3))


def same(found: dict[str, torch.Tensor] | None, b: Visual) -> bool:
    if found is None:
        return False
    a = Visual.from_tensors(found)
    return (
        a.grid == b.grid
        and len(a.deepstack) == len(b.deepstack)
        and all(
            x.dtype == y.dtype and torch.equal(x, y)
            for x, y in zip((a.tokens, *a.deepstack), (b.tokens, *b.deepstack), strict=True)
        )
    )


def key(number: int) -> str:
    return feature_key("slide", "encoder", str(number))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize(
    "kept",
    [visual(1), visual(2, torch.bfloat16), Visual(torch.ones(4, WIDTH))],
    ids=["region", "bfloat16", "slide"],
)
def test_what_is_kept_comes_back_to_the_bit(tmp_path: Path, kept: Visual) -> None:
    """Catches lost precision, lost deepstack layers, and a slide taken for a region."""
    FeatureCache(tmp_path / "f").put(key(1), kept.to_tensors())
    assert same(FeatureCache(tmp_path / "f").get(key(1)), kept)
    assert FeatureCache(tmp_path / "f").get(key(2)) is None
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o700
    (entry,) = (tmp_path / "f").glob("*.features")
    assert entry.stat().st_mode & 0o777 == 0o600


def test_every_part_of_a_key_counts() -> None:
    """Catches features of another slide, encoder or scale served, and parts that run into each other."""
    keys = [("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("ab", "", "c"), ("a", "b")]
    assert len({feature_key(*parts) for parts in keys}) == len(keys)


def becomes(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda entry: entry.write_bytes(change(entry.read_bytes()))


def unreadable(entry: Path) -> None:
    """Its first byte is one that the system can't read: EIO, as of a failing disk."""
    entry.unlink()
    entry.symlink_to("/proc/self/mem")


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": becomes(lambda data: b""),
    "cut short": becomes(lambda data: data[:-1]),
    "a bit flipped": becomes(lambda data: data[:-5] + bytes([data[-5] ^ 4]) + data[-4:]),
    "the checksum alone": becomes(lambda data: data[:32]),
    "rubbish": becomes(lambda data: b"\xff" * len(data)),
    "EIO": unreadable,
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_entry_is_none_and_is_made_anew(tmp_path: Path, name: str) -> None:
    """Catches training on damaged features, and an entry that stays damaged for ever."""
    cache = FeatureCache(tmp_path)
    cache.put(key(1), visual(1).to_tensors())
    (entry,) = tmp_path.glob("*.features")
    SPOILT[name](entry)
    assert cache.get(key(1)) is None
    assert not entry.exists()
    cache.put(key(1), visual(1).to_tensors())
    assert same(cache.get(key(1)), visual(1))


@pytest.mark.parametrize("name", ["whole", *SPOILT])
def test_a_disk_that_can_only_be_read_costs_no_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Catches training that ends because a good entry can't be marked as used (EROFS), or a damaged one removed."""
    cache = FeatureCache(tmp_path)
    cache.put(key(1), visual(1).to_tensors())
    (entry,) = tmp_path.glob("*.features")
    SPOILT.get(name, lambda entry: None)(entry)

    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for place, call in ((os, "utime"), (os, "unlink"), (tempfile, "mkstemp")):
        monkeypatch.setattr(place, call, refuse)
    assert cache.has(key(1))
    assert not cache.has(key(2))
    assert same(cache.get(key(1)), visual(1)) == (name == "whole")
    cache.put(key(1), visual(1).to_tensors())
    cache.remove([key(1)])
    assert list(tmp_path.glob("*.features")) == [entry]


def test_a_folder_that_cant_be_made_smaller_costs_no_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches training that ends because old entries can't leave: nobody can hold the lock any more."""
    FeatureCache(tmp_path / "one").put(key(0), visual(0).to_tensors())
    cache = FeatureCache(tmp_path / "f", limit=2 * size(tmp_path / "one"))
    (tmp_path / "f" / "lock").unlink()
    (tmp_path / "f" / "lock").mkdir()
    cache.put(key(1), visual(1).to_tensors())
    assert same(cache.get(key(1)), visual(1))
    assert "can't be kept (Is a directory)" in caplog.text


def test_an_entry_under_anothers_name_is_none(tmp_path: Path) -> None:
    """Catches files swapped by a restored backup: one slide's features for another's."""
    cache = FeatureCache(tmp_path)
    cache.put(key(1), visual(1).to_tensors())
    (entry,) = tmp_path.glob("*.features")
    entry.rename(tmp_path / f"{key(2)}.features")
    assert cache.get(key(2)) is None


def test_the_least_recently_used_leave_and_the_folder_stays_small(tmp_path: Path) -> None:
    """Catches a disk that fills up, and an eviction of what was just used."""
    one = FeatureCache(tmp_path / "one")
    one.put(key(0), visual(0).to_tensors())
    limit = 20 * size(tmp_path / "one")
    cache = FeatureCache(tmp_path / "f", limit)
    for number in range(60):
        cache.put(key(number), visual(number).to_tensors())
        assert same(cache.get(key(0)), visual(0)), "used all the time, and gone"
        assert size(tmp_path / "f") <= limit * 17 / 16
    kept = [number for number in range(60) if cache.get(key(number)) is not None]
    assert len(kept) >= 15
    assert kept[1:] == list(range(60 - len(kept) + 1, 60))


def test_a_smaller_limit_holds_from_the_next_start_on(tmp_path: Path) -> None:
    """Catches a limit that waits for the next write, and parts of dead processes that stay."""
    cache = FeatureCache(tmp_path)
    for number in range(10):
        cache.put(key(number), visual(number).to_tensors())
    dead, alive = tmp_path / "dead.part", tmp_path / "alive.part"
    dead.write_bytes(b"x")
    alive.write_bytes(b"x")
    os.utime(dead, (0, 0))
    FeatureCache(tmp_path, limit=size(tmp_path) // 2)
    assert 3 <= len(list(tmp_path.glob("*.features"))) <= 5
    assert (dead.exists(), alive.exists()) == (False, True)


def test_a_full_disk_costs_no_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches training that ends because its cache can't be written (ENOSPC), parts that stay and keep the disk full, and
    a cache that doesn't come back once there is room.
    """
    cache = FeatureCache(tmp_path)
    cache.put(key(1), visual(1).to_tensors())
    made = tempfile.mkstemp

    def on_a_full_disk(**named: Any) -> tuple[int, str]:
        descriptor, part = made(**named)
        os.close(descriptor)
        return os.open("/dev/full", os.O_WRONLY), part

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", on_a_full_disk)
        cache.put(key(1), visual(1).to_tensors())
        cache.put(key(2), visual(2).to_tensors())
    assert same(cache.get(key(1)), visual(1))
    assert cache.get(key(2)) is None
    assert list(tmp_path.glob("*.part")) == []
    cache.put(key(2), visual(2).to_tensors())
    assert same(cache.get(key(2)), visual(2))


def _worker(folder: Path, limit: int, seed: int, said: multiprocessing.Queue[str]) -> None:
    """Put, read and damage entries at random; every entry that comes back is the right one."""
    try:
        random, cache = np.random.default_rng(seed), FeatureCache(folder, limit)
        found = 0
        for _ in range(300):
            number = int(random.integers(30))
            if (kept := cache.get(key(number))) is None:
                cache.put(key(number), visual(number).to_tensors())
            else:
                assert same(kept, visual(number)), "another's features"
                found += 1
            if random.random() < 0.02:
                FeatureCache(folder, limit)._path(key(number)).unlink(missing_ok=True)
        assert found > 10
        said.put("well")
    except BaseException as error:
        said.put(repr(error))
        raise


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    """Catches half-written entries that are read, an eviction that fails where another process was first, and a bound
    that two processes break.
    """
    FeatureCache(tmp_path / "one").put(key(0), visual(0).to_tensors())
    limit = 12 * size(tmp_path / "one")
    context = multiprocessing.get_context("spawn")  # a fork may be born with a lock that another thread held
    said: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_worker, args=(tmp_path / "f", limit, seed, said)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    assert [said.get(timeout=300) for _ in workers] == ["well", "well"]
    for worker in workers:
        worker.join()
    assert list((tmp_path / "f").glob("*.part")) == []
    assert size(tmp_path / "f") <= limit * 18 / 16
