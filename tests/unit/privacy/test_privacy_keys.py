"""Keys on disk, and signatures that are good for one purpose."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import keys
from privacy.errors import KeyFileError, SignatureInvalid
from privacy.keys import PublicKey, Purpose


def test_a_key_is_made_private_and_loads_again(tmp_path: Path) -> None:
    """Catches a private key that others can read, and a public half that is another's."""
    made = keys.generate(tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    signature = keys.load(tmp_path / "k").sign(b"data", Purpose.RELEASE)
    keys.load_public(tmp_path / "k.pub").verify(signature, b"data", Purpose.RELEASE)
    assert PublicKey.from_pem(made.public.to_pem()) == made.public == keys.load_public(tmp_path / "k.pub")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    """Catches a second init that makes every past signature void."""
    keys.generate(tmp_path / "k")
    before = (tmp_path / "k").read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        keys.generate(tmp_path / "k")
    assert (tmp_path / "k").read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Catches a key that must count as lost."""
    keys.generate(tmp_path / "k")
    (tmp_path / "k").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        keys.load(tmp_path / "k")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    """Catches a crash on a missing, damaged or foreign key file."""
    with pytest.raises(KeyFileError, match="make the key first"):
        keys.load(tmp_path / "none")
    with pytest.raises(KeyFileError, match="put the public key there"):
        keys.load_public(tmp_path / "none")
    (tmp_path / "k").write_bytes(b"junk")
    (tmp_path / "k").chmod(0o600)
    with pytest.raises(KeyFileError, match="not a private key"):
        keys.load(tmp_path / "k")
    with pytest.raises(KeyFileError, match="not a public key"):
        keys.load_public(tmp_path / "k")
    foreign = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (tmp_path / "k").write_bytes(
        foreign.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(KeyFileError, match="not an Ed25519"):
        keys.load(tmp_path / "k")
    with pytest.raises(KeyFileError, match="not an Ed25519"):
        PublicKey.from_pem(
            foreign.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    with pytest.raises(KeyFileError):
        PublicKey(b"short")


@pytest.mark.parametrize(
    ("form", "lock"),
    [
        (serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        (serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")),
        (serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()),
    ],
    ids=["ours", "encrypted", "of OpenSSH"],
)
def test_a_private_key_in_a_public_ones_place_is_told(
    tmp_path: Path, form: serialization.PrivateFormat, lock: serialization.KeySerializationEncryption
) -> None:
    """Catches a secret that is handed over, and an error after which it is handed over once more."""
    key = Ed25519PrivateKey.generate()
    (tmp_path / "k").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
    with pytest.raises(KeyFileError, match=r"/k: this is a private key: give the \.pub file.* to nobody"):
        keys.load_public(tmp_path / "k")


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b'hospital = "north"\n',
        b"\xff\x00",
        b"ssh-ed25519 AAAA north\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
    ids=["nothing", "a policy", "bytes", "of OpenSSH", "damaged", "a certificate"],
)
def test_what_is_no_public_key_is_told_in_our_words(tmp_path: Path, held: bytes) -> None:
    """Catches a library's own text, which speaks of framings and of its web site, and not of what to do."""
    (tmp_path / "k").write_bytes(held)
    told = f"{tmp_path / 'k'}: not a public key in PEM: give the .pub file that was made with the key"
    with pytest.raises(KeyFileError) as error:
        keys.load_public(tmp_path / "k")
    assert str(error.value) == told


def test_a_signature_is_good_for_its_purpose_and_data_only(tmp_path: Path) -> None:
    """Catches a ledger signature replayed as a release's."""
    key = keys.generate(tmp_path / "k")
    signature = key.sign(b"data", Purpose.LEDGER)
    key.public.verify(signature, b"data", Purpose.LEDGER)
    for data, purpose in ((b"data", Purpose.RELEASE), (b"datum", Purpose.LEDGER)):
        with pytest.raises(SignatureInvalid, match=key.public.fingerprint):
            key.public.verify(signature, data, purpose)


SMALL_ORDER = (
    "00" * 32,
    "00" * 31 + "80",
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
)
MISSPELT = (
    "01" + "00" * 30 + "80",
    "ec" + "ff" * 31,
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
    "ff" * 32,
)


@pytest.mark.parametrize("raw", [*SMALL_ORDER, *MISSPELT])
def test_a_key_that_needs_no_secret_is_no_key(raw: str) -> None:
    """Catches a "key" under which one signature is good for everything, or a second spelling of a key.  The points are
    libsodium's list: a signature of identity and zero verifies under the first ones in plain OpenSSL.
    """
    with pytest.raises(KeyFileError, match="small order"):
        PublicKey(bytes.fromhex(raw))
