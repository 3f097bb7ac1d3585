"""Pictures of the hospital's slides: drawn when they are asked for, kept in memory alone, bounded in number, size and time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_AT_ONCE = 2  # processes that draw
_WAIT_S, _SECONDS = 60.0, {"thumbnail": 60.0, "sheet": 150.0}
_MOST_BYTES = 96 << 20  # of all that are kept
_LARGEST = 32 << 20  # bytes of one
_COMMAND = (sys.executable, "-m", "client.page.draw")


@dataclass
class Pictures:
    """A slide that ends its process, hangs or takes all memory ends its own picture, and nothing else."""

    most_bytes: int = _MOST_BYTES
    command: tuple[str, ...] = _COMMAND
    seconds: Mapping[str, float] = field(default_factory=lambda: _SECONDS)
    _kept: OrderedDict[tuple[str, str, str], bytes] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _drawing: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))

    def get(self, kind: str, key: str, stamp: str, asked: Mapping[str, object]) -> bytes | None:
        """The picture of the slide `key` as it is at `stamp`; None where it can't be drawn, or not now."""
        of = (kind, key, stamp)
        if (found := self._found(of)) is not None:
            return found
        if not self._drawing.acquire(timeout=_WAIT_S):
            return None
        try:  # another may have drawn it while this one waited
            return self._found(of) or self._keep(of, self._drawn({**asked, "kind": kind}, self.seconds[kind]))
        finally:
            self._drawing.release()

    def _found(self, of: tuple[str, str, str]) -> bytes | None:
        with self._lock:
            if of in self._kept:
                self._kept.move_to_end(of)
            return self._kept.get(of)

    def _keep(self, of: tuple[str, str, str], data: bytes | None) -> bytes | None:
        if data is not None:
            with self._lock:
                self._kept[of] = data
                while sum(map(len, self._kept.values())) > self.most_bytes and len(self._kept) > 1:
                    self._kept.popitem(last=False)
        return data

    def _drawn(self, asked: Mapping[str, object], seconds: float) -> bytes | None:
        try:
            done = subprocess.run(
                self.command,
                input=json.dumps(asked).encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                cwd=Path(__file__).parents[2],
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return None
        good = done.returncode == 0 and 0 < len(done.stdout) <= _LARGEST
        return done.stdout if good else None
