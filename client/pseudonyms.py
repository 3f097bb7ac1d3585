"""Names that tell nobody who is meant, made of a secret that the hospital keeps: HMAC-SHA256 (RFC 2104).

Without the secret a pseudonym can't be tried against a list of names. The same secret always gives the same pseudonym.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from client.errors import HomeError
from client.tasks.patient import identity

_BYTES = 32


class Pseudonyms:
    """Pseudonyms under one secret; of patients, slides and series, each kind apart."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def passing(cls) -> Pseudonyms:
        """Under a secret that is kept nowhere."""
        return cls(secrets.token_bytes(_BYTES))

    @classmethod
    def of_file(cls, path: Path) -> Pseudonyms:
        """Under the secret in `path`, which is made (0600) where there is none; of several makers one wins.

        Raises `HomeError` where it can't be read or made, is no such secret, or is open to others.
        """
        try:
            if not path.exists():
                _make(path)
            mode = stat.S_IMODE(path.stat().st_mode)
            secret = path.read_bytes()
        except OSError as error:
            raise HomeError(f"{path}: {error.strerror}: check the folder and who runs this") from None
        if mode & 0o077:
            raise HomeError(f"{path} has mode {mode:04o}, so others can read it: run `chmod 600 {path}`")
        if len(secret) != _BYTES:
            raise HomeError(
                f"{path}: is no secret of {_BYTES} bytes: restore it, or delete it; then all pseudonyms change"
            )
        return cls(secret)

    def patient(self, patient: str) -> str:
        """A patient's, whichever way their key is spelt; 32 hex digits."""
        return self._of("patient", identity(patient))[:32]

    def slide(self, name: str) -> str:
        """A slide's, by its path inside the slide folder; 16 hex digits."""
        return self._of("slide", name)[:16]

    def series(self, uid: str) -> str:
        """A DICOM series', by its UID; 32 hex digits."""
        return self._of("series", uid)[:32]

    def _of(self, kind: str, what: str) -> str:
        return hmac.new(self._secret, f"{kind}\0{what}".encode(), "sha256").hexdigest()


def _make(path: Path) -> None:
    """Write a secret aside and link it into place: it is whole as soon as it is there, and never replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink()
