"""What two hospitals share: keys from X25519 (RFC 7748), for one round, one pair and one use each.

A key agreement's result goes through HKDF-SHA256 with the round's view, the use and both names, so keys of different
rounds, uses and directions have nothing to do with each other.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy import canonical

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


def new_secret() -> bytes:
    """A fresh X25519 private key."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_of(secret: bytes) -> bytes:
    """The public key of `secret`."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def is_weak(public: bytes) -> bool:
    """Whether an agreement with this public key would give zeros, whatever the secret: a point of small order."""
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return True
    return False


def mask_seed(secret: bytes, public: bytes, view: str, one: str, other: str) -> bytes:
    """The seed of the mask between hospitals `one` and `other`: the same from either side.

    Raises `ValueError` for a weak public key.
    """
    return _key(secret, public, [view, "mask", *sorted((one, other))])


def seal(secret: bytes, public: bytes, view: str, sender: str, recipient: str, text: bytes) -> bytes:
    """Encrypt what `sender` tells `recipient` in a round (ChaCha20-Poly1305, RFC 8439): nonce, text, tag."""
    key = _key(secret, public, [view, "seal", sender, recipient])
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, text, _about(view, sender, recipient))


def unseal(secret: bytes, public: bytes, view: str, sender: str, recipient: str, sealed: bytes) -> bytes:
    """Read `seal`'s bytes. Raises `ValueError` where they are another pair's, another round's, or altered."""
    key = _key(secret, public, [view, "seal", sender, recipient])
    nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, text, _about(view, sender, recipient))
    except InvalidTag:
        raise ValueError(f"what {sender} sealed for {recipient} was altered, or is another round's") from None


def _key(secret: bytes, public: bytes, about: list[str]) -> bytes:
    shared = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    return HKDF(SHA256(), KEY_BYTES, None, canonical.encode(["fedpath/secagg/1", *about])).derive(shared)


def _about(view: str, sender: str, recipient: str) -> bytes:
    return canonical.encode([view, sender, recipient])
