"""Every test here runs on both databases that a ledger, or a consortium's store, may live in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import postgresql
from tests.contract.store_places import place, places  # noqa: F401 - fixtures
from tests.privacy_cases import Hospital, hospital

_NUMBER = iter(range(10**6))


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql.Server]:
    """One PostgreSQL for all tests, started by the first that needs it."""
    running = postgresql.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def north(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hospital]:
    """A hospital with a new, empty ledger."""
    if request.param == "sqlite":
        yield hospital(tmp_path)
        return
    server: postgresql.Server = request.getfixturevalue("server")
    name = f"north-{os.getpid()}-{next(_NUMBER)}"
    try:
        yield hospital(tmp_path, server.create(name))
    finally:
        server.drop(name)
