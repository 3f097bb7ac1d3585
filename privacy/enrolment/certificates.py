"""The root certificates by which a hospital knows the SuperLink: what may stand in a kit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.enrolment.expiry import Expiry
from privacy.errors import EnrolmentFileError
from privacy.ledger.entries import written


def read_root(pem: str, now: datetime) -> x509.Certificate:
    """A root certificate, in the one spelling of its PEM, that may vouch for a server now.

    It must be for a P-384 key, signed with that same key, and for signing certificates.  Raises `EnrolmentFileError` that
    names the certificate and what is wrong.
    """
    try:
        root = x509.load_pem_x509_certificate(pem.encode())
        name = root.subject.rfc4514_string()
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
        key = root.public_key()
        curve = key.curve if isinstance(key, ec.EllipticCurvePublicKey) else None
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise EnrolmentFileError("a certificate in it is no root certificate in PEM") from error
    if root.public_bytes(serialization.Encoding.PEM) != pem.encode():
        raise EnrolmentFileError(f"the certificate {name} is not spelled as PEM is written")
    if not isinstance(curve, ec.SECP384R1) or not constraints.ca or not usage.key_cert_sign:
        raise EnrolmentFileError(f"the certificate {name} is not one of an authority with a P-384 key")
    try:
        root.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        raise EnrolmentFileError(f"the certificate {name} is not signed with its own key") from None
    if now >= root.not_valid_after_utc:
        raise EnrolmentFileError(f"the certificate {name} expired at {written(root.not_valid_after_utc)}")
    if now < root.not_valid_before_utc:
        raise EnrolmentFileError(
            f"the certificate {name} is valid from {written(root.not_valid_before_utc)} on: is this machine's clock set?"
        )
    return root


def root_expiries(pems: Sequence[str], now: datetime) -> list[Expiry]:
    """How long each root is good."""
    return [
        Expiry.of(f"root certificate {root.subject.rfc4514_string()}", root.not_valid_after_utc, now)
        for root in map(x509.load_pem_x509_certificate, (pem.encode() for pem in pems))
    ]
