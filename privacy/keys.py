"""Ed25519 keys: a private key stays in the file that it was made in, and each signature has one purpose."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy import canonical
from privacy.errors import KeyFileError, SignatureInvalid

SIGNATURE_BYTES = 64
MAX_FILE = 64 * 1024  # bytes of a file that holds a secret

_PRIME = 2**255 - 19
# The y of every point whose order divides 8: anyone can sign for these without any secret.
_ORDER_8 = int("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", 16)
_SMALL_ORDER = frozenset({0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8})


class Purpose(StrEnum):
    """What a signature is for.  It is part of the signed bytes, so a plan's can't pass for a receipt's."""

    PLAN = "plan"
    RELEASE = "release"
    LEDGER = "ledger"
    RECEIPT = "receipt"
    ROTATION = "rotation"
    EXPORT = "export"
    ENROLMENT = "enrolment"  # an enrolled key names the one that replaces it
    REQUEST = "enrolment-request"  # a hospital asks to be enrolled with these keys
    KIT = "kit"  # what the coordinator answers
    SUCCESSION = "succession"  # the coordinator's key names the one that replaces it
    EVALUATION = "evaluation"
    COUNTS = "counts"
    SESSION = "secagg-session"  # the coordinator's terms of one attempt at a round under distributed trust
    SECAGG_ADVERT = "secagg-advert"  # one purpose for each step of secure aggregation
    SECAGG_DEAL = "secagg-deal"
    MASKED_INPUT = "masked-input"
    SECAGG_SURVIVORS = "secagg-survivors"
    SECAGG_OPENING = "secagg-opening"
    CHECKPOINT = "checkpoint"  # a step of a round; never leaves the hospital


@dataclass(frozen=True)
class PublicKey:
    """Who may have signed: 32 raw bytes.

    Raises `KeyFileError` for bytes of another length, and for a point of small order or one that is not written in its
    canonical way (RFC 8032): its signatures would need no secret, or its name would have two spellings.
    """

    raw: bytes

    def __post_init__(self) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw)
        except (ValueError, TypeError) as error:
            raise KeyFileError(f"not an Ed25519 public key: {error}") from error
        y = int.from_bytes(self.raw, "little") & (2**255 - 1)
        if y >= _PRIME or y in _SMALL_ORDER:
            raise KeyFileError(
                "not an Ed25519 public key that anyone holds: a point of small order, or misspelt"
            )

    def verify(self, signature: bytes, data: bytes, purpose: Purpose) -> None:
        """Raise `SignatureInvalid` unless this key's owner signed `data` for `purpose`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, _bound(data, purpose))
        except InvalidSignature:
            raise SignatureInvalid(
                f"the signature of this {purpose} was not made by the key {self.fingerprint}"
            ) from None

    @property
    def fingerprint(self) -> str:
        """A short name to compare by eye: the first 16 hex digits of the key's SHA-256."""
        return canonical.digest(self.raw)[:16]

    def to_pem(self) -> bytes:
        """The text that a `.pub` file holds."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, text: bytes) -> PublicKey:
        """Read `to_pem`'s text.  Raises `KeyFileError`."""
        try:
            key = serialization.load_pem_public_key(text)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                "not a public key in PEM: give the .pub file that was made with the key"
            ) from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError("a public key, but not an Ed25519 one")
        return cls(key.public_bytes_raw())


class PrivateKey:
    """Signs.  Made by `generate` or `load`; its secret is not shown by `repr` and has no accessor."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    def sign(self, data: bytes, purpose: Purpose) -> bytes:
        """64 bytes over `data`, good for `purpose` only."""
        return self._key.sign(_bound(data, purpose))


def generate(path: Path) -> PrivateKey:
    """Make a key at `path` (mode 0600) and its public half at `path` + `.pub`.

    Raises `KeyFileError` where a file is there already: a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    private = PrivateKey(key)
    _write_new(path, pem, 0o600)
    _write_new(public_path(path), private.public.to_pem(), 0o644)
    return private


def load(path: Path) -> PrivateKey:
    """Read a private key.  Raises `KeyFileError` when it is missing, no Ed25519 key, or open to others."""
    try:
        key = serialization.load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path} is not a private key in PEM: restore it from where it was made"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is a private key, but not an Ed25519 one")
    return PrivateKey(key)


def of_seed(seed: bytes) -> PrivateKey:
    """The key that 32 secret bytes stand for.  Raises `ValueError` for another length."""
    return PrivateKey(Ed25519PrivateKey.from_private_bytes(seed))


def read_private(path: Path, *, follow_links: bool = True) -> bytes:
    """A file that holds a secret, of at most `MAX_FILE` bytes.

    Raises `KeyFileError` when it is missing, open to others, longer, or no plain file (a link is none where they are not
    followed).
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            if mode & 0o077:
                raise KeyFileError(
                    f"{path} has mode {mode:04o}, so others can read it: run `chmod 600 {path}`"
                )
            data = file.read(MAX_FILE + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}: make the key first, or check who runs this") from error
    if not 0 < len(data) <= MAX_FILE:
        raise KeyFileError(f"{path} is empty, no plain file, or too long for a secret: restore it")
    return data


def load_public(path: Path) -> PublicKey:
    """Read a `.pub` file.  Raises `KeyFileError`, for a private key with a word on what it is."""
    try:
        text = path.read_bytes()
        if b"PRIVATE KEY-----" in text:
            raise KeyFileError(
                "this is a private key: give the .pub file beside it, and hand this one to nobody, for whoever has it signs "
                "in its owner's name"
            )
        return PublicKey.from_pem(text)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}: put the public key there") from error
    except KeyFileError as error:
        raise KeyFileError(f"{path}: {error}") from error


def public_path(path: Path) -> Path:
    """Where `generate` puts the public half of the key at `path`."""
    return path.with_name(path.name + ".pub")


def _bound(data: bytes, purpose: Purpose) -> bytes:
    return b"fedpath/1/" + purpose.value.encode() + b"\0" + data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise KeyFileError(f"{path} exists: a key is never overwritten; move it away first") from None
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}: check the folder and who runs this") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
