"""Where the page is reached: which host names are its own, and whether all of the way is encrypted."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pages.serving import LOOPBACK, Tls
from server.errors import HomeError

_HERE = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Reached:
    """`names` are the hosts that browsers may ask for; `secure` where they come over TLS: ended here (`tls`), or by a proxy."""

    host: str
    names: frozenset[str]
    secure: bool
    tls: Tls | None
    public_url: str | None

    def address(self, port: int) -> str:
        """What to type into a browser; `port` is the one that is listened on."""
        if self.public_url is not None:
            return self.public_url
        return f"{'https' if self.tls else 'http'}://{_bracketed(self.host)}:{port}/"


def reached(host: str, public_url: str | None, certificate: Path | None, key: Path | None) -> Reached:
    """Raises `HomeError`, saying what to do: for a certificate without its key, a key that others may read, an address beyond
    this machine without TLS, and a public address that is none.
    """
    if (certificate is None) != (key is None):
        raise HomeError("give both --tls-certificate and --tls-key, or neither")
    tls = None if certificate is None or key is None else _tls(certificate, key)
    if host not in _HERE and tls is None:
        raise HomeError(
            f"--host {host} is reached from other machines: give --tls-certificate and --tls-key, or listen on 127.0.0.1 "
            "behind a proxy that ends TLS, and say so with --public-url https://..."
        )
    names, secure = {*LOOPBACK, _bracketed(host.lower())}, tls is not None
    if public_url is not None:
        names.add(_public_host(public_url))
        secure = True
    return Reached(host, frozenset(names), secure, tls, public_url)


def _tls(certificate: Path, key: Path) -> Tls:
    for file in (certificate, key):
        if not file.is_file():
            raise HomeError(f"{file}: there is no such file: name a PEM file")
    if key.stat().st_mode & 0o077:
        raise HomeError(f"{key}: others may read the key: chmod 600 {key}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise HomeError(
            f"{certificate} and {key}: no certificate in PEM with its key, without a password: {error}"
        ) from error
    return Tls(certificate, key)


def _public_host(url: str) -> str:
    wrong = f"--public-url {url!r}: give scheme and host alone, as in https://fedpath.example.org"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise HomeError(wrong) from None
    if parts.scheme != "https" or not host or parts.username or parts.path not in ("", "/"):
        raise HomeError(wrong)
    if parts.query or parts.fragment:
        raise HomeError(wrong)
    return _bracketed(host.lower())


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
