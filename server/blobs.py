"""Expert states as files called by their hash: written whole or not at all, and checked when read."""

from __future__ import annotations

from pathlib import Path

from privacy import durable, tensors
from server.errors import StoreError


class Blobs:
    """A folder of `<sha256>.safetensors`. Writing the same bytes again changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Keep `data`, durably, and return its hash."""
        digest = tensors.digest(data)
        path = self._path(digest)
        if path.exists():
            return digest
        try:
            durable.replace(path, data, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}: check the disk and who runs this") from error
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of that hash. Raises `StoreError` where they are lost or were changed."""
        return read_whole(self._path(digest), digest, "expert state")

    def size(self, digest: str) -> int | None:
        """How many bytes it has; None where it is lost."""
        try:
            return self._path(digest).stat().st_size
        except OSError:
            return None

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.safetensors"


def read_whole(path: Path, digest: str, what: str) -> bytes:
    """The bytes of that hash. Raises `StoreError` where they are lost or were changed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: restore this {what} from a backup") from error
    if tensors.digest(data) != digest:
        raise StoreError(f"{path} was changed after it was written: restore it from a backup")
    return data
