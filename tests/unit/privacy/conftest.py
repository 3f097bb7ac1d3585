"""A small consortium's books, which the audit's tests spoil copies of."""

from __future__ import annotations

import pytest

from privacy.audit.sources import Source, read_source
from tests.audit_books import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Books of two hospitals and their coordinator."""
    world = World.create(tmp_path_factory.mktemp("world"))
    world.live()
    return world


@pytest.fixture(scope="session")
def honest(world: World) -> dict[str, Source]:
    """North's, south's and the coordinator's, as exported."""
    return {name: read_source(path) for name, path in world.exports().items()}
