"""A hospital's node key: the P-384 key under which Flower authenticates its courier.

Flower reads the private half, and `flwr supernode register` the public one, in OpenSSH's format; the SuperLink then knows
the node by the PEM of the public half.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy import durable, keys
from privacy.errors import EnrolmentFileError, KeyFileError

_DOMAIN = b"fedpath/1/node-key-of-a-request\0"  # Flower signs other bytes with this key


def generate(path: Path) -> None:
    """Make a key at `path` (mode 0600), in the place of what was there."""
    key = ec.generate_private_key(ec.SECP384R1())
    form, plain = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    durable.replace(path, key.private_bytes(serialization.Encoding.PEM, form, plain))


def load(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the private half; no link is followed, as the courier may write where it lies.  Raises `KeyFileError`."""
    data = keys.read_private(path, follow_links=False)
    try:
        key = serialization.load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} is not a private key in OpenSSH's format: restore it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise KeyFileError(f"{path} is a private key, but not on the curve P-384")
    return key


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as the SuperLink reports it."""
    return _pem(key.public_key())


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """A signature of a request's bytes (ECDSA, SHA-384)."""
    return key.sign(_DOMAIN + data, ec.ECDSA(hashes.SHA384()))


def verify(pem: bytes, signature: bytes, data: bytes) -> None:
    """Raise `EnrolmentFileError` unless the holder of the key signed the request's bytes."""
    try:
        _public(pem).verify(signature, _DOMAIN + data, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise EnrolmentFileError("whoever made it does not hold its supernode_key") from None


def checked(text: str) -> bytes:
    """The one spelling of a node's public key in PEM.  Raises `EnrolmentFileError` for any other text."""
    pem = _pem(_public(text.encode()))
    if pem != text.encode():
        raise EnrolmentFileError("its supernode_key is not spelled as PEM is written")
    return pem


def to_openssh(pem: bytes) -> bytes:
    """The form in which `flwr supernode register` reads a node's public key."""
    return _public(pem).public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def _public(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise EnrolmentFileError("its supernode_key is not a public key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise EnrolmentFileError("its supernode_key is not on the curve P-384")
    return key


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
