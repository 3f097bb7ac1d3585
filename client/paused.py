"""A hospital that takes no new round for now: an empty file `paused` in its home, so that it outlives any restart."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from privacy import durable


def since(path: Path) -> datetime | None:
    """When the hospital was paused; None where it is not."""
    try:
        return datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def pause(path: Path) -> datetime:
    """Pause, durably; returns since when it is, which a second pause leaves as it was."""
    if (before := since(path)) is not None:
        return before
    durable.replace(path, b"")
    return since(path) or datetime.now(UTC)


def resume(path: Path) -> bool:
    """Pause no more, durably; whether it was paused."""
    if since(path) is None:
        return False
    path.unlink()
    durable.sync_folder(path.parent)
    return True
