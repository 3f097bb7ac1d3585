"""The cache of decoded tiles: its budget, its order, its threads, and memory that serves again."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from client.slides.tile_cache import TileCache, off_boundary

SIDE = 16
BYTES = SIDE * SIDE * 3


def tile(cache: TileCache, value: int, side: int = SIDE) -> np.ndarray:
    room = cache.room(side, side)
    room[:] = value
    return room


def test_the_least_recently_used_leaves_first() -> None:
    """Would catch an order of arrival instead of use, and a budget that counts tiles and not bytes."""
    cache = TileCache(3 * BYTES)
    for number in range(3):
        cache.put((0, number), tile(cache, number))
    assert cache.get((0, 0)) is not None
    cache.put((0, 3), tile(cache, 3))
    assert cache.get((0, 1)) is None
    assert [int(cache.get((0, number))[0, 0, 0]) for number in (0, 2, 3)] == [0, 2, 3]  # type: ignore[index]


def test_a_tile_larger_than_the_budget_is_not_kept() -> None:
    """Would catch a cache emptied for a tile that does not fit, or one that grows beyond its budget."""
    cache = TileCache(2 * BYTES)
    cache.put((0, 0), tile(cache, 1))
    cache.put((0, 1), tile(cache, 2, side=4 * SIDE))
    assert cache.get((0, 1)) is None
    assert cache.get((0, 0)) is not None
    none = TileCache(0)
    none.put((0, 0), tile(none, 1))
    assert none.nbytes == 0
    with pytest.raises(ValueError, match="budget"):
        TileCache(-1)


def test_memory_in_use_is_never_anothers() -> None:
    """Would catch a tile, or a part of one, whose pixels change under who looks at them once it has left the
    cache."""
    cache = TileCache(2 * BYTES)
    held = tile(cache, 7)
    cache.put((0, 0), held)
    part_of = tile(cache, 8)
    part = part_of[:4]
    cache.put((0, 1), part_of)
    del part_of
    for number in range(2, 12):
        cache.put((0, number), tile(cache, 100 + number))
    assert (held == 7).all()
    assert (part == 8).all()
    assert not held.flags.writeable


def test_memory_that_nobody_holds_serves_again() -> None:
    """Would catch a fresh allocation for every tile: 5 to 40 % of its decoding."""
    cache = TileCache(2 * BYTES)
    for number in range(2):
        cache.put((0, number), tile(cache, number))
    first = cache.get((0, 0)).__array_interface__["data"][0]  # type: ignore[union-attr]
    cache.get((0, 1))
    room = cache.room(SIDE, SIDE)
    assert room.__array_interface__["data"][0] == first
    cache.give_back(room)
    del room
    assert cache.room(SIDE, SIDE).__array_interface__["data"][0] == first


def test_an_owners_tiles_go_with_it() -> None:
    """Would catch a closed slide that goes on to fill the cache."""
    cache = TileCache()
    for owner in range(2):
        for number in range(3):
            cache.put((owner, number), tile(cache, owner))
    cache.forget(0)
    assert cache.nbytes == 3 * BYTES
    assert cache.get((0, 1)) is None
    assert cache.get((1, 1)) is not None


def test_threads_never_see_anothers_tile_nor_more_than_the_budget() -> None:
    """Would catch races: a tile under another's key, memory given to two, a budget overrun between its parts."""
    cache, faults = TileCache(5 * BYTES), []

    def work(seed: int) -> None:
        source = np.random.default_rng(seed)
        for number in source.integers(0, 12, 3000):
            found = cache.get((0, int(number)))
            if found is None:
                found = tile(cache, int(number))
                cache.put((0, int(number)), found)
            if not (found == number).all() or cache.nbytes > cache.budget:
                faults.append(int(number))
            if source.random() < 0.1:
                room = cache.room(SIDE, SIDE)
                room[:] = 255
                cache.give_back(room)
                del room

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_room_begins_off_the_boundary_that_makes_decoding_slow() -> None:
    """Would catch the loss of a seventh of all decoding speed."""
    for side in (16, 240, 256):
        room = off_boundary(side, side)
        assert room.__array_interface__["data"][0] % 32 == 8
        assert room.shape == (side, side, 3)
        assert room.flags.c_contiguous
