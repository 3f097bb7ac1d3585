"""Places for stores, on both databases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.postgresql import Server
from tests.store_cases import Place

_NUMBER = iter(range(10**6))
Make = Callable[[], Place]


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Make places, each for a store of its own."""
    server: Server | None = request.getfixturevalue("server") if request.param == "postgresql" else None
    made: list[str] = []

    def make() -> Place:
        number = next(_NUMBER)
        folder = tmp_path / f"place-{number}"
        folder.mkdir()
        if server is None:
            return Place(folder, None)
        made.append(f"store-{os.getpid()}-{number}")
        return Place(folder, server.create(made[-1]).replace("+psycopg", ""))

    yield make
    for name in made:
        assert server is not None
        server.drop(name)


@pytest.fixture
def place(places: Make) -> Place:
    """A place without a store yet."""
    return places()
