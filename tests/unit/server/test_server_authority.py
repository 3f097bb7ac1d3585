"""Certificates, verified by two others than who made them: `cryptography`'s verifier and OpenSSL."""

from __future__ import annotations

import ipaddress
import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder
from cryptography.x509.verification import Store as Roots

from server.errors import HomeError
from server.home import Home
from server.provision import authority
from server.provision.authority import change_authority, prepare_authority, renew_server, roots

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", "rhine", "superlink.example.org", 19092)


def _server(home: Home) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home.folder / "server.crt").read_bytes())


def _verifies(home: Home, trusted: tuple[str, ...], name: str, at: datetime = NOW) -> bool:
    store = Roots([x509.load_pem_x509_certificate(root.encode()) for root in trusted])
    try:
        subject: x509.DNSName | x509.IPAddress = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    try:
        verifier = PolicyBuilder().store(store).time(at + timedelta(seconds=1)).build_server_verifier(subject)
        return len(verifier.verify(_server(home), [])) == 2
    except x509.verification.VerificationError:
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", "superlink.example.org", "10.1.2.3"])
def test_the_server_certificate_verifies_for_its_host_and_loopback(tmp_path: Path, host: str) -> None:
    """Hospitals connect by the host, the ServerApp by loopback: a name that lacks would break TLS in production."""
    home = Home.create(tmp_path / "home", "rhine", host, 19092)
    for name in ("127.0.0.1", "localhost", host):
        assert _verifies(home, roots(home.folder), name)
    assert not _verifies(home, roots(home.folder), "another.example.org")


def test_a_renewed_server_certificate_needs_nobody_to_do_anything(home: Home) -> None:
    """Catches a renewal under a key or authority that hospitals don't know, and one that is none."""
    before, trusted = _server(home), roots(home.folder)
    later = NOW + timedelta(days=360)
    renew_server(home.folder, home.host, later)
    assert _server(home).public_key() != before.public_key()
    assert _verifies(home, trusted, home.host, later + timedelta(days=360))
    assert roots(home.folder) == trusted


def test_a_new_authority_cuts_off_nobody_who_joined_in_between(home: Home) -> None:
    """Catches a change of authority in one step: every hospital would be cut off until it had the new root."""
    (old,) = roots(home.folder)
    prepare_authority(home.folder, NOW)
    both = roots(home.folder)
    assert both[0] == old
    assert len(both) == 2
    assert _verifies(home, (old,), home.host), "who has not joined again must still connect"
    renew_server(home.folder, home.host, NOW)
    assert _verifies(home, (old,), home.host), "a renewal in between must not change authorities"
    change_authority(home.folder, home.host, NOW)
    assert roots(home.folder) == (both[1],)
    assert _verifies(home, both, home.host), "who joined in between connects before and after"
    assert not _verifies(home, (old,), home.host), "the old authority no longer vouches for anything"
    renew_server(home.folder, home.host, NOW)
    assert _verifies(home, both, home.host)


def test_there_is_one_next_authority(home: Home) -> None:
    """Catches a second call that makes the kits of the first worthless, and a change to nothing."""
    with pytest.raises(HomeError, match="renew --ca"):
        change_authority(home.folder, home.host, NOW)
    prepare_authority(home.folder, NOW)
    made = roots(home.folder)
    prepare_authority(home.folder, NOW)
    assert roots(home.folder) == made


STEPS = ("_write_key", "_write")


@pytest.mark.parametrize("step", range(4))
def test_a_change_of_authority_that_was_cut_short_is_finished_by_another(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Catches a crash between two files after which nothing verifies and no command mends it."""
    prepare_authority(home.folder, NOW)
    both, left = roots(home.folder), step

    def dies(name: str) -> None:
        real = getattr(authority, name)

        def write(path: Path, what: object) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            real(path, what)

        monkeypatch.setattr(authority, name, write)

    for name in STEPS:
        dies(name)
    with pytest.raises(KeyboardInterrupt):
        change_authority(home.folder, home.host, NOW)
    monkeypatch.undo()
    if step == 3:  # the authority's key is not that of its certificate
        with pytest.raises(HomeError, match="finish `fedpath-consortium renew --switch`"):
            renew_server(home.folder, home.host, NOW)
    change_authority(home.folder, home.host, NOW)
    assert roots(home.folder) == (both[1],)
    assert _verifies(home, both, home.host)
    assert not list((home.folder / "keys").glob("ca-next*"))


def test_a_server_certificate_does_not_outlive_its_authority(home: Home) -> None:
    """Catches a certificate that says it is good when no client takes it any more; and an authority that signs on."""
    late = NOW + timedelta(days=authority.AUTHORITY_DAYS - 9)
    renew_server(home.folder, home.host, late)
    root = x509.load_pem_x509_certificate(roots(home.folder)[0].encode())
    assert _server(home).not_valid_after_utc == root.not_valid_after_utc
    with pytest.raises(HomeError, match="expired"):
        renew_server(home.folder, home.host, late + timedelta(days=10))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
class TestOpenSSL:
    """What OpenSSL, which made none of it, says."""

    @staticmethod
    def _openssl(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)

    def _verify(self, roots_file: Path, home: Home, *more: str) -> subprocess.CompletedProcess[str]:
        strict = ("-x509_strict", "-purpose", "sslserver", "-no-CApath", "-no-CAstore")
        return self._openssl("verify", *strict, "-CAfile", roots_file, *more, home.folder / "server.crt")

    def test_verifies_the_chain_the_name_and_the_purpose(self, home: Home, tmp_path: Path) -> None:
        """Catches an extension that another library needs and ours does not."""
        root = home.folder / "ca.crt"
        for name in ("-verify_hostname superlink.example.org", "-verify_ip 127.0.0.1"):
            done = self._verify(root, home, *name.split())
            assert done.returncode == 0, done.stdout + done.stderr
        assert self._verify(root, home, "-verify_hostname", "evil.example").returncode != 0
        client = self._verify(root, home, "-purpose", "sslclient")
        assert client.returncode != 0, "a server's certificate must not pass for a client's"
        other = Home.create(tmp_path / "other", "rhine", home.host, 19092)
        assert self._verify(other.folder / "ca.crt", home).returncode != 0

    def test_verifies_through_a_change_of_authority(self, home: Home, tmp_path: Path) -> None:
        """Catches a file of two roots of which only the first is read."""
        prepare_authority(home.folder, NOW)
        both = tmp_path / "both.crt"
        both.write_text("".join(roots(home.folder)))
        assert self._verify(both, home).returncode == 0
        change_authority(home.folder, home.host, NOW)
        assert self._verify(both, home).returncode == 0

    def test_reads_what_stands_in_them(self, home: Home) -> None:
        """Catches a weaker curve or hash, a certificate that may sign others, and a life that is too long."""
        shown = {
            name: self._openssl("x509", "-in", home.folder / f"{name}.crt", "-noout", "-text").stdout
            for name in ("ca", "server")
        }
        for text in shown.values():
            assert "Signature Algorithm: ecdsa-with-SHA384" in text
            assert "ASN1 OID: secp384r1" in text
        assert "CA:TRUE, pathlen:0" in shown["ca"]
        assert "CA:FALSE" in shown["server"]
        assert "TLS Web Server Authentication" in shown["server"]
        assert "Certificate Sign" not in shown["server"]
        year = self._openssl("x509", "-in", home.folder / "server.crt", "-noout", "-checkend", 366 * 86400)
        assert year.returncode != 0


def test_both_roots_in_one_file_serve_tls_before_and_after_the_change(home: Home, tmp_path: Path) -> None:
    """Catches a client that reads the first root of a file alone: a handshake, as the courier does it."""
    prepare_authority(home.folder, NOW)
    both = "".join(roots(home.folder))
    assert _handshake(home, both)
    change_authority(home.folder, home.host, NOW)
    assert _handshake(home, both)
    assert not _handshake(home, "".join(roots(Home.create(tmp_path / "o", "o", "h", 1).folder)))


def _handshake(home: Home, trusted: str) -> bool:
    """Whether a TLS client that trusts these roots takes the home's server; in memory, with no socket."""
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=trusted)
    theirs.load_cert_chain(home.folder / "server.crt", home.folder / "keys" / "server.key")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(down, up, server_hostname=home.host)
    server = theirs.wrap_bio(up, down, server_side=True)
    done = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
    return len(done) == 2
