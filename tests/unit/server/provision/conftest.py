"""A consortium's home, and a hospital that it invited."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.home import Home
from server.provision.approve import approve
from tests.provision_cases import NOW, Hospital, invited


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "rhine", "127.0.0.1", 19092)


@pytest.fixture
def north(home: Home, tmp_path: Path) -> Hospital:
    return Hospital(tmp_path / "north", invited(home))


@pytest.fixture
def enrolled(home: Home, north: Hospital) -> Hospital:
    approve(home, north.request(), NOW)
    return north
