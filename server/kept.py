"""Accepted releases of committed rounds, on disk: whoever has them and the journal can recompute a round."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from privacy import durable
from server.blobs import read_whole
from server.errors import StoreError


class Kept:
    """A folder of `<sha256>.release`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, files: Iterable[Path]) -> None:
        """Move files, called by their hash, here from elsewhere on the same disk: each is here or there, and whole."""
        files = list(files)
        try:
            if files:
                self._folder.mkdir(mode=0o700, exist_ok=True)
            for file in files:
                file.replace(self._path(file.name))
            if files:
                durable.sync_folder(self._folder)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}: check the disk and who runs this") from error

    def get(self, digest: str) -> bytes:
        """The bytes of that hash. Raises `StoreError` where they are lost or were changed."""
        return read_whole(self._path(digest), digest, "release")

    def remove(self, digests: Iterable[str]) -> int:
        """Remove those that are here; how many they were."""
        removed = 0
        try:
            for path in map(self._path, digests):
                removed += path.exists()
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}: check who runs this") from error
        return removed

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.release"
