"""What hospitals send in a round of secure aggregation. Layout: an Ed25519 signature, then what it signs.

| message       | says                                                                     | signed for         |
|---------------|--------------------------------------------------------------------------|--------------------|
| `Advert`      | two public keys of this round, and the hash of a seed                    | `secagg-advert`    |
| `Deal`        | for each other hospital, sealed: its shares of the seed and of a key     | `secagg-deal`      |
| `MaskedInput` | the masked vector (`privacy.secagg.masked_input`)                        | `masked-input`     |
| `Survivors`   | whose inputs I was told are in                                           | `secagg-survivors` |
| `Opening`     | my share of each survivor's seed, and of each dropped hospital's key     | `secagg-opening`   |

Every message holds the session's hash and its sender's name. From the deal on it holds a *view*: a hash over all that
its sender was shown before. So whoever was shown something else is found at the next step, not in a wrong sum.

Reading raises `SecaggRefused`, and nothing else, whatever the bytes: `malformed`, `unknown-hospital`, `bad-signature`
and `wrong-session`, in this order; from the third on it is known who wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy import canonical
from privacy.codes import SecaggFault
from privacy.errors import SecaggRefused, SignatureInvalid, WireError
from privacy.forms import Form, each, record, text
from privacy.keys import SIGNATURE_BYTES, PrivateKey, Purpose
from privacy.secagg import pairs, shamir
from privacy.secagg.session import Session

MAX_BYTES = 80 * 1024  # a deal of 100 hospitals with the longest names has 47 kB
SEALED_BYTES = pairs.NONCE_BYTES + 2 * shamir.SHARE_BYTES + pairs.TAG_BYTES


@dataclass(frozen=True)
class Advert:
    """The public keys that `hospital` uses in this round only, and the SHA-256 of its own mask's seed."""

    hospital: str
    sealing: bytes
    masking: bytes
    seed_hash: str

    def sign(self, session: Session, key: PrivateKey) -> bytes:
        """The bytes that travel."""
        fields = {"sealing": self.sealing.hex(), "masking": self.masking.hex(), "seed_hash": self.seed_hash}
        return write(session, self.hospital, fields, key, Purpose.SECAGG_ADVERT)

    @classmethod
    def open(cls, data: bytes, session: Session) -> Advert:
        """Read hostile bytes. Raises `SecaggRefused`, with `weak-key` for keys under which nothing is secret."""
        form = {
            "sealing": _hex(pairs.KEY_BYTES),
            "masking": _hex(pairs.KEY_BYTES),
            "seed_hash": canonical.is_digest,
        }
        fields = read(data, session, form, Purpose.SECAGG_ADVERT)
        sealing, masking = bytes.fromhex(fields["sealing"]), bytes.fromhex(fields["masking"])
        if sealing == masking or pairs.is_weak(sealing) or pairs.is_weak(masking):
            raise SecaggRefused(SecaggFault.WEAK_KEY, "its keys hide nothing", fields["hospital"])
        return cls(fields["hospital"], sealing, masking, fields["seed_hash"])


@dataclass(frozen=True)
class Deal:
    """Shares of `hospital`'s seed and masking key: `sealed` to each other hospital, and for every holder, itself
    included, the hashes of the two shares: so that it shows who later opens another one.
    """

    hospital: str
    view: str
    sealed: Mapping[str, bytes]
    hashes: Mapping[str, tuple[str, str]]

    def sign(self, session: Session, key: PrivateKey) -> bytes:
        """The bytes that travel."""
        fields = {
            "view": self.view,
            "sealed": {name: value.hex() for name, value in self.sealed.items()},
            "hashes": {name: list(pair) for name, pair in self.hashes.items()},
        }
        return write(session, self.hospital, fields, key, Purpose.SECAGG_DEAL)

    @classmethod
    def open(cls, data: bytes, session: Session) -> Deal:
        """Read hostile bytes. Raises `SecaggRefused`."""
        form = {
            "view": canonical.is_digest,
            "sealed": _by_name(_hex(SEALED_BYTES), session),
            "hashes": _by_name(_two_digests, session),
        }
        fields = read(data, session, form, Purpose.SECAGG_DEAL)
        sealed = {name: bytes.fromhex(value) for name, value in fields["sealed"].items()}
        hashes = {name: (pair[0], pair[1]) for name, pair in fields["hashes"].items()}
        if sealed.keys() | {fields["hospital"]} != hashes.keys() or fields["hospital"] in sealed:
            raise SecaggRefused(
                SecaggFault.MALFORMED, "a deal to some, hashes for others", fields["hospital"]
            )
        return cls(fields["hospital"], fields["view"], sealed, hashes)


@dataclass(frozen=True)
class Survivors:
    """`names`, sorted: whose inputs `hospital` was told the sum will hold."""

    hospital: str
    view: str
    names: tuple[str, ...]

    def sign(self, session: Session, key: PrivateKey) -> bytes:
        """The bytes that travel."""
        fields = {"view": self.view, "names": list(self.names)}
        return write(session, self.hospital, fields, key, Purpose.SECAGG_SURVIVORS)

    @classmethod
    def open(cls, data: bytes, session: Session) -> Survivors:
        """Read hostile bytes. Raises `SecaggRefused`."""
        form = {
            "view": canonical.is_digest,
            "names": each(lambda name: isinstance(name, str) and name in session.roll),
        }
        fields = read(data, session, form, Purpose.SECAGG_SURVIVORS)
        if fields["names"] != sorted(set(fields["names"])):
            raise SecaggRefused(SecaggFault.MALFORMED, "survivors unsorted or doubled", fields["hospital"])
        return cls(fields["hospital"], fields["view"], tuple(fields["names"]))


@dataclass(frozen=True)
class Opening:
    """`hospital`'s shares: of the seeds of survivors, of the masking keys of those who dropped out; of nobody both."""

    hospital: str
    view: str
    seeds: Mapping[str, bytes]
    keys: Mapping[str, bytes]

    def sign(self, session: Session, key: PrivateKey) -> bytes:
        """The bytes that travel."""
        fields = {
            "view": self.view,
            "seeds": {name: share.hex() for name, share in self.seeds.items()},
            "keys": {name: share.hex() for name, share in self.keys.items()},
        }
        return write(session, self.hospital, fields, key, Purpose.SECAGG_OPENING)

    @classmethod
    def open(cls, data: bytes, session: Session) -> Opening:
        """Read hostile bytes. Raises `SecaggRefused`."""
        shares = _by_name(_hex(shamir.SHARE_BYTES), session)
        fields = read(
            data,
            session,
            {"view": canonical.is_digest, "seeds": shares, "keys": shares},
            Purpose.SECAGG_OPENING,
        )
        seeds, keys = (
            {name: bytes.fromhex(share) for name, share in fields[kind].items()} for kind in ("seeds", "keys")
        )
        if seeds.keys() & keys.keys():
            raise SecaggRefused(
                SecaggFault.MALFORMED, "it opens both shares of one hospital", fields["hospital"]
            )
        return cls(fields["hospital"], fields["view"], seeds, keys)


def keys_view(session: Session, adverts: Mapping[str, bytes]) -> str:
    """The hash over the keys that everybody was shown; `adverts` are the messages as they travelled."""
    return _view(session.hash, adverts)


def deals_view(before: str, deals: Mapping[str, bytes]) -> str:
    """The hash over `keys_view` and all deals: who masks with whom."""
    return _view(before, deals)


def survivors_view(statement: Survivors) -> str:
    """The hash over `deals_view` and the set of survivors."""
    return canonical.digest(canonical.encode([statement.view, list(statement.names)]))


def write(
    session: Session, hospital: str, fields: dict[str, Any], key: PrivateKey, purpose: Purpose
) -> bytes:
    """Sign a message's fields, bound to session and sender."""
    payload = canonical.encode({**fields, "session": session.hash, "hospital": hospital})
    return key.sign(payload, purpose) + payload


def read(data: bytes, session: Session, form: dict[str, Form], purpose: Purpose) -> dict[str, Any]:
    """Read `write`'s bytes, of exactly these fields."""
    payload = data[SIGNATURE_BYTES:]
    fields = read_fields(payload, form)
    check_sender(data[:SIGNATURE_BYTES], payload, fields, session, purpose)
    return fields


def read_fields(payload: bytes, form: dict[str, Form]) -> dict[str, Any]:
    """A message's fields, unverified. Raises `SecaggRefused` with `malformed`."""
    try:
        fields = canonical.decode(payload, MAX_BYTES)
    except WireError as error:
        raise SecaggRefused(SecaggFault.MALFORMED, str(error)) from None
    if not record({**form, "session": canonical.is_digest, "hospital": text})(fields):
        raise SecaggRefused(SecaggFault.MALFORMED, "its fields are not this message's")
    return dict(fields)


def check_sender(
    signature: bytes, signed: bytes, fields: Mapping[str, Any], session: Session, purpose: Purpose
) -> None:
    """Raise `SecaggRefused` unless a hospital of the roll signed `signed` for this session."""
    hospital = fields["hospital"]
    key = session.roll.get(hospital)
    if key is None:
        raise SecaggRefused(SecaggFault.UNKNOWN_HOSPITAL, f"{hospital!r} is not on the roll")
    try:
        key.verify(signature, signed, purpose)
    except SignatureInvalid as error:
        raise SecaggRefused(SecaggFault.BAD_SIGNATURE, str(error)) from None
    if fields["session"] != session.hash:
        raise SecaggRefused(SecaggFault.WRONG_SESSION, f"it is bound to {fields['session']}", hospital)


def _view(before: str, messages: Mapping[str, bytes]) -> str:
    return canonical.digest(
        canonical.encode([before, {name: canonical.digest(data) for name, data in messages.items()}])
    )


def _hex(size: int) -> Form:
    digits = frozenset("0123456789abcdef")
    return lambda value: isinstance(value, str) and len(value) == 2 * size and set(value) <= digits


def _by_name(form: Form, session: Session) -> Form:
    return lambda value: (
        isinstance(value, dict) and all(name in session.roll and form(of) for name, of in value.items())
    )


def _two_digests(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(canonical.is_digest, value))
