"""The walls of a container or a unit that is the courier's confinement: what must be seen from inside it.

The courier starts Flower's SuperNode without a confinement of its own only where it was told that it is contained
and each of these walls stands. What the outer confinement mounts besides (slides, most of all) can't be known from
inside; the compose file and the unit, and their tests, answer for that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from client.home import Home

# Of the home: its own folder, the agent's door, and where the SuperLink is, signed by whom.
MOUNTED = frozenset({"courier", "socket", "trust/kit.json", "trust/coordinator.pub"})


@dataclass(frozen=True)
class Surroundings:
    """What this process sees of where it runs: entries of the home (in `trust/` by their path), itself, other users."""

    home: frozenset[str]
    user: int
    capabilities: int
    no_new_privileges: bool
    read_only_root: bool
    others: int  # processes of other users


def look_around(home: Home) -> Surroundings:
    """See where this process runs. Raises OSError where the home's folder or /proc can't be read."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own = os.geteuid()
    return Surroundings(
        frozenset(_entries(home.folder)),
        own,
        int(status["CapPrm"], 16) | int(status["CapBnd"], 16),
        status["NoNewPrivs"].strip() == "1",
        bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        sum(_owner(path) not in (own, None) for path in Path("/proc").iterdir() if path.name.isdigit()),
    )


def gaps(seen: Surroundings) -> tuple[str, ...]:
    """Which walls are missing, each with what to do about it; none where the courier is contained."""
    private = sorted(seen.home - MOUNTED)
    found = (
        (
            bool(private),
            f"{', '.join(private)} of the home can be seen: mount {', '.join(sorted(MOUNTED))}",
        ),
        (seen.user == 0, "it runs as root: give it a user of its own"),
        (seen.capabilities != 0, "it may hold capabilities: drop all of them, from the bounding set too"),
        (not seen.no_new_privileges, "it may gain privileges: set no-new-privileges"),
        (not seen.read_only_root, "its root file system can be written: mount it read-only"),
        (seen.others > 0, "processes of other users can be seen: give it process ids of its own"),
    )
    return tuple(what for missing, what in found if missing)


def _entries(folder: Path) -> list[str]:
    trust = folder / "trust"
    pinned = [f"trust/{path.name}" for path in trust.iterdir()] if os.access(trust, os.R_OK) else []
    return [path.name for path in folder.iterdir() if path.name != "trust" or not pinned] + pinned


def _owner(process: Path) -> int | None:
    try:
        return process.stat().st_uid
    except FileNotFoundError:  # it ended meanwhile
        return None
