"""Frozen visual features on disk, as named tensors: a folder of this hospital's own, bounded in size; what it holds
never leaves.

One file an entry: sha256 of key and content, then the content as safetensors. A file is written apart and renamed, so
a reader meets whole entries only; one that was damaged since is found by its checksum, removed and computed anew. A
disk that fails costs what was kept, never the work. Any number of processes may share a folder: the least recently used
entries leave under a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

LIMIT = 20 << 30  # bytes
_LOG = logging.getLogger("fedpath.features")
_FORMAT = "3"  # a change of what stands in an entry, or of how features are made, makes other keys
_ROOM = 0.9  # of the limit is left after an eviction, so that the next one is not at once
_UNSEEN = 1 / 16  # of the limit may be written by one process before it looks at the folder again
_ABANDONED = 3600.0  # seconds after which a part belongs to a process that died
_DIGEST = hashlib.sha256().digest_size


def feature_key(*parts: str) -> str:
    """The name of what was made from these parts: sha256, hex."""
    return hashlib.sha256("\0".join((_FORMAT, *parts)).encode()).hexdigest()


class FeatureCache:
    """Tensors by key. The folder, made 0700 where there is none, holds at most `limit` bytes, and a
    sixteenth of them more for each process that shares it.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder, self._limit = folder, limit
        self._written = 0  # since this process last looked at the whole folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._evict()

    def has(self, key: str) -> bool:
        """Whether something lies under the key, whole or not; it counts as used now."""
        path = self._path(key)
        try:
            path.stat()
        except OSError:
            return False
        _use(path)
        return True

    def get(self, key: str) -> dict[str, Tensor] | None:
        """What was put under the key, on the CPU; None where there is nothing, nothing whole, or the disk can't read it."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _LOG.warning("a cached feature can't be read and is computed anew (%s)", error.strerror)
            _remove(path)
            return None
        _use(path)
        content = data[_DIGEST:]
        if data[:_DIGEST] == _checksum(key, content):
            try:
                return load(content)
            except SafetensorError:
                pass  # whole, and of another form: not ours
        _LOG.warning("a cached feature was damaged and is computed anew")
        _remove(path)
        return None

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep some tensors. Where the disk can't take them, nothing is kept and the work goes on."""
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        if len(content) > self._limit:
            return
        try:
            descriptor, part = tempfile.mkstemp(suffix=".part", dir=self._folder)  # 0600
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_checksum(key, content) + content)
                Path(part).replace(self._path(key))
            except OSError:
                Path(part).unlink(missing_ok=True)
                raise
            self._written += len(content)
            if self._written > self._limit * _UNSEEN:
                self._evict()
        except OSError as error:
            _LOG.warning("features can't be kept (%s): make room, or see who may write", error.strerror)

    def remove(self, keys: Iterable[str]) -> None:
        """Forget what lies under these keys, where the disk allows it."""
        for key in keys:
            _remove(self._path(key))

    def _evict(self) -> None:
        """Remove the least recently used entries of a folder that is too large, and parts of the dead."""
        self._written = 0
        with self._locked():
            entries, total = [], 0
            for path in self._folder.iterdir():
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue  # removed as damaged, or renamed, just now
                if path.suffix == ".part" and time.time() - status.st_mtime > _ABANDONED:
                    path.unlink(missing_ok=True)
                elif path.suffix == ".features":
                    entries.append((status.st_mtime_ns, status.st_size, path))
                    total += status.st_size
            if total <= self._limit:
                return
            for _, size, path in sorted(entries):
                if total <= self._limit * _ROOM:
                    break
                path.unlink(missing_ok=True)
                total -= size

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.features"


def _use(path: Path) -> None:
    """Count it as used now; where the disk can't note that, it only leaves earlier."""
    with suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> None:
    """Take it away, where the disk allows it."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()
