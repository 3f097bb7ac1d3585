"""Accepted releases of open rounds, on disk: so many hospitals' need not be in memory together.

They are put aside until their round is committed; then they are kept (`server.kept`), or removed. A run that is killed
meanwhile asks again, and gets the same bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from privacy import durable, tensors
from server.errors import StoreError


class Aside:
    """A folder with one folder a campaign, of files called by their hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, campaign: str, data: bytes) -> Path:
        """Keep `data`; where it lies."""
        path = self.path(campaign, tensors.digest(data))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.put(path, data)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}: check the disk and who runs this") from error
        return path

    def path(self, campaign: str, digest: str) -> Path:
        """Where bytes of that hash lie, once they were put."""
        return self._folder / campaign / digest

    def clear(self, campaign: str) -> None:
        """Remove all that was put aside for the campaign."""
        folder = self._folder / campaign
        try:
            if folder.is_dir():
                shutil.rmtree(folder)
        except OSError as error:
            raise StoreError(
                f"{folder}: {error.strerror}: check who runs this, or remove the folder"
            ) from error
