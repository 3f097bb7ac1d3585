"""A hospital at the end of a cable that can be pulled: a network namespace, joined to this machine by a pair of interfaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HERE, THERE = "10.213.87.1", "10.213.87.2"


class Cable:
    """Between `HERE`, on this machine, and `THERE`, where `within` starts a command."""

    def __init__(self) -> None:
        self._name = f"fp{os.getpid()}"  # an interface's name has 15 letters at most
        self.within = ("ip", "netns", "exec", self._name)

    def lay(self) -> None:
        near, far = f"{self._name}a", f"{self._name}b"
        _ip("netns", "add", self._name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self._name)
        _ip("addr", "add", f"{HERE}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", self._name, "addr", "add", f"{THERE}/30", "dev", far)
        _ip("-n", self._name, "link", "set", far, "up")
        _ip("-n", self._name, "link", "set", "lo", "up")

    def pull(self) -> None:
        """Nothing gets through any more, and neither end is told: no connection is closed."""
        _ip("link", "set", f"{self._name}a", "down")

    def plug_in(self) -> None:
        """What is sent again arrives."""
        _ip("link", "set", f"{self._name}a", "up")

    def take_away(self) -> None:
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True)


@contextmanager
def cable() -> Iterator[Cable]:
    """Skips where this machine has no namespaces to give, and says so."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip` here: install iproute2 to try a network that is cut")
    found = Cable()
    try:
        try:
            found.lay()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine gives no network namespaces: {error.stderr.strip()}")
        yield found
    finally:
        found.take_away()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
