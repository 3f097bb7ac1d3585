"""The consortium's certificate authority and the SuperLink's server certificate (X.509, P-384).

An authority signs server certificates and nothing else; hospitals know it by the roots in their kit. Nodes authenticate
by raw keys that Flower checks, so no client certificates are needed.

A new authority comes in two steps, so that no hospital is cut off. `prepare_authority` makes it: kits carry both roots from
then on, and the server keeps its certificate. Once every hospital has joined with such a kit, `change_authority` has the
new one sign the server's certificate, and the old one is gone. Each step that a crash cut short is finished by doing it
again.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privacy import durable, keys
from privacy.errors import KeyFileError
from server.errors import HomeError

AUTHORITY_DAYS, SERVER_DAYS = 5 * 365, 365
CA_CERTIFICATE, SERVER_CERTIFICATE = "ca.crt", "server.crt"
CA_KEY, SERVER_KEY = "keys/ca.key", "keys/server.key"
NEXT_CERTIFICATE, NEXT_KEY = "ca-next.crt", "keys/ca-next.key"
_EARLIER = timedelta(hours=1)  # clocks differ


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_authority(home: Path, host: str, now: datetime) -> None:
    """Make an authority and a server certificate for `host` (and loopback, where the ServerApp runs) under `home`."""
    authority = _new_authority(now)
    _write_key(home / CA_KEY, authority.key)
    _write(home / CA_CERTIFICATE, authority.certificate)
    _certify_server(home, authority, host, now)


def renew_server(home: Path, host: str, now: datetime) -> None:
    """A new key and certificate for the server, under the authority in force.  Raises `HomeError`, `KeyFileError`."""
    _certify_server(home, _load(home, CA_KEY, CA_CERTIFICATE), host, now)


def prepare_authority(home: Path, now: datetime) -> None:
    """Make the next authority, unless there is one already."""
    if (home / NEXT_CERTIFICATE).exists():
        return
    authority = _new_authority(now)
    _write_key(home / NEXT_KEY, authority.key)
    _write(home / NEXT_CERTIFICATE, authority.certificate)


def change_authority(home: Path, host: str, now: datetime) -> None:
    """Put the next authority in the place of the present one, and have it sign the server's certificate.

    Hospitals that have not joined with a kit that carries its root can't connect from then on. Raises `HomeError` where
    none was made.
    """
    if not (home / NEXT_CERTIFICATE).exists():
        raise HomeError(
            f"{home / NEXT_CERTIFICATE}: no new authority waits: make one with `fedpath-consortium renew --ca`; one that "
            "was taken up already needs no more than a plain `renew`"
        )
    authority = _load(home, NEXT_KEY, NEXT_CERTIFICATE)
    _certify_server(home, authority, host, now)
    _write(home / CA_CERTIFICATE, authority.certificate)
    _write_key(home / CA_KEY, authority.key)
    (home / NEXT_CERTIFICATE).unlink()
    (home / NEXT_KEY).unlink()


def roots(home: Path) -> tuple[str, ...]:
    """The certificates that hospitals should take as roots: the authority's, and the next one's where there is one."""
    found = [home / CA_CERTIFICATE, home / NEXT_CERTIFICATE]
    texts = [path.read_text("ascii") for path in found if path.exists()]
    return tuple(dict.fromkeys(texts))


def server_expires(home: Path) -> datetime:
    """When the server's certificate ends.  Raises `HomeError`."""
    return _certificate(home / SERVER_CERTIFICATE).not_valid_after_utc


def _certify_server(home: Path, authority: _Authority, host: str, now: datetime) -> None:
    """Between the two files a crash leaves a pair that does not fit; doing it again mends that."""
    key = ec.generate_private_key(ec.SECP384R1())
    issuer = authority.certificate
    if now >= issuer.not_valid_after_utc:
        raise HomeError(
            f"the authority expired at {issuer.not_valid_after_utc}: `fedpath-consortium renew --ca`"
        )
    ends = min(now + timedelta(days=SERVER_DAYS), issuer.not_valid_after_utc)
    certificate = (
        _builder("FedPath SuperLink", issuer.subject, key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
        .sign(authority.key, hashes.SHA384())
    )
    _write_key(home / SERVER_KEY, key)
    _write(home / SERVER_CERTIFICATE, certificate)


def _new_authority(now: datetime) -> _Authority:
    """Named after its key, so that two authorities have two names."""
    key = ec.generate_private_key(ec.SECP384R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    common = f"FedPath consortium CA {identifier.digest.hex()[:8]}"
    ends = now + timedelta(days=AUTHORITY_DAYS)
    certificate = (
        _builder(common, _name(common), key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA384())
    )
    return _Authority(key, certificate)


def _load(home: Path, key_file: str, certificate_file: str) -> _Authority:
    """An authority from its files.  Raises `HomeError` where the two don't fit, `KeyFileError`."""
    path = home / key_file
    try:
        key = serialization.load_pem_private_key(keys.read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} is not a private key in PEM: restore it from a backup") from error
    certificate = _certificate(home / certificate_file)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise HomeError(
            f"{path} is not the key of {home / certificate_file}: finish `fedpath-consortium renew --switch` if it was cut "
            "short, else restore both from a backup"
        )
    return _Authority(key, certificate)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise HomeError(f"{path}: {error.strerror}: restore it from a backup") from error
    except ValueError as error:
        raise HomeError(f"{path}: not a certificate in PEM: restore it from a backup") from error


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    durable.replace(path, key.private_bytes(serialization.Encoding.PEM, form, plain))


def _write(path: Path, certificate: x509.Certificate) -> None:
    durable.replace(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(ends)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    try:
        mine: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        mine = x509.DNSName(host)
    return names if mine in names else [*names, mine]


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
