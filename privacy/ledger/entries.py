"""A ledger's entries: each signed, each naming the hash of the one before, none earlier than the one before.

A key rotation is an entry too: signed by the old key, it names the new one, which signs in its turn for having
taken over at this very place of the chain.  So one trusted key, any that the ledger ever had, vouches for all
of it: for what follows, because it handed over; for what went before, because it took over its hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from privacy import canonical
from privacy.errors import KeyFileError, LedgerError, SignatureInvalid
from privacy.keys import PrivateKey, PublicKey, Purpose

START = "0" * 64  # what the first entry names as the one before
FORMAT = 1
_FIRST_YEAR, _LAST_YEAR = 1970, 2999
_RESTORE = "restore the ledger from a backup"


class Kind(StrEnum):
    """What an entry records."""

    POLICY = "policy"
    RESERVATION = "reservation"
    SPEND = "spend"
    VOID = "void"
    RELEASE = "release"
    RECEIPT = "receipt"
    REFUSAL = "refusal"
    ROTATION = "rotation"
    WITHDRAWAL = "withdrawal"
    SELFTEST = "selftest"
    SUCCESSION = "succession"  # the coordinator's key was followed by another
    APPROVAL = "approval"  # the hospital's IT approved a campaign, or withdrew that
    UPGRADE = "upgrade"  # other code is installed, by the hospital's hand


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.  `hash` covers all but `signature`; `signature` covers what `hash` covers."""

    sequence: int
    kind: str
    at: str
    body: Mapping[str, Any]
    previous: str
    hash: str
    signature: bytes
    format: int = FORMAT

    def content(self) -> bytes:
        """The bytes that are hashed and signed."""
        return _content(self.sequence, self.kind, self.at, self.body, self.previous, self.format)


def follow(last: Entry | None, kind: str, at: datetime, body: Mapping[str, Any], key: PrivateKey) -> Entry:
    """The entry of `kind` (a `Kind`) that comes after `last` (None: the first), signed with `key`.

    Where the clock went back, the entry bears the time of the one before: a ledger's time never goes back.  Raises
    `LedgerError` for a clock that is not set: no entry may bear a year outside 1970 to 2999.
    """
    sequence = 1 if last is None else last.sequence + 1
    previous = START if last is None else last.hash
    when = written(moment(last, at))
    try:
        read_time(when)
    except ValueError as error:
        raise LedgerError(f"the clock says {when}: set it ({error})") from error
    content = _content(sequence, str(kind), when, body, previous, FORMAT)
    return Entry(
        sequence,
        str(kind),
        when,
        body,
        previous,
        canonical.digest(content),
        key.sign(content, Purpose.LEDGER),
    )


def moment(last: Entry | None, at: datetime) -> datetime:
    """The ledger's time when the clock says `at`: in UTC, and not before the last entry's."""
    return at.astimezone(UTC) if last is None else max(_time(last), at.astimezone(UTC))


def written(at: datetime) -> str:
    """A moment as books write it: in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def read_time(at: str) -> datetime:
    """The moment that `written` wrote so, of the years 1970 to 2999.  Raises `ValueError` for any other spelling: what
    is counted by its date must not bear another zone's.
    """
    time = datetime.fromisoformat(at)
    if not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise ValueError(f"the year {time.year} is not from {_FIRST_YEAR} to {_LAST_YEAR}")
    if time.tzinfo is None or written(time) != at:
        raise ValueError(f"{at!r} is not written in UTC, to the millisecond")
    return time


def rotation(last: Entry | None, old: PublicKey, new: PrivateKey) -> dict[str, str]:
    """The body of the entry after `last` in which `old` hands the ledger over to `new`."""
    fields = {"old": old.raw.hex(), "new": new.public.raw.hex()}
    takeover = _takeover(fields, START if last is None else last.hash)
    return {**fields, "proof": new.sign(takeover, Purpose.ROTATION).hex()}


def first_key(entries: Iterable[Entry], trusted: PublicKey) -> PublicKey:
    """The key that must have signed the first entry, where `trusted` is one that these entries ever had.

    Where it is none of them it is `trusted` itself, under which `check_chain` then names the first wrong entry.
    Nothing is verified here.  Raises `LedgerError` for a rotation without keys.
    """
    pairs = [_rotated(entry) for entry in entries if entry.kind == Kind.ROTATION]
    return pairs[0][0] if any(trusted in pair for pair in pairs) else trusted


def check_chain(entries: Sequence[Entry], signer: PublicKey, last: Entry | None = None) -> PublicKey:
    """The key that signs what comes next, where all `entries` follow `last` and are signed, from `signer` on.

    Raises `LedgerError`, naming the first entry that is not in its place, was changed, was back-dated, is of
    another format, or is not signed by the key that held the ledger then.
    """
    for entry in entries:
        _check_place(entry, last)
        content = entry.content()
        if canonical.digest(content) != entry.hash:
            raise LedgerError(f"ledger entry {entry.sequence} was changed after it was written; {_RESTORE}")
        try:
            signer.verify(entry.signature, content, Purpose.LEDGER)
        except SignatureInvalid as error:
            raise LedgerError(f"ledger entry {entry.sequence}: {error}") from error
        if entry.kind == Kind.ROTATION:
            signer = _successor(entry, signer)
        last = entry
    return signer


def _check_place(entry: Entry, last: Entry | None) -> None:
    sequence, previous = (1, START) if last is None else (last.sequence + 1, last.hash)
    if entry.sequence != sequence or entry.previous != previous:
        raise LedgerError(
            f"ledger entry {entry.sequence} does not follow the one before it: "
            f"entries were removed, added or reordered; {_RESTORE}"
        )
    if entry.format != FORMAT:
        raise LedgerError(
            f"ledger entry {entry.sequence} is of format {entry.format}; this fedpath reads format {FORMAT}: "
            "use the version that wrote it"
        )
    time = _time(entry)
    if last is not None and time < _time(last):
        raise LedgerError(
            f"ledger entry {entry.sequence} is dated before the one before it: it was back-dated"
        )


def _successor(entry: Entry, signer: PublicKey) -> PublicKey:
    """The key that takes over by a rotation; both keys must agree to it at this place."""
    if _rotated(entry)[0] != signer:
        raise LedgerError(f"ledger entry {entry.sequence} rotates a key that does not hold the ledger")
    return taken_over(entry)


def taken_over(entry: Entry) -> PublicKey:
    """The new key of a rotation, which signed for having taken over at this place.  Raises `LedgerError`."""
    _, new = _rotated(entry)
    try:
        proof = bytes.fromhex(entry.body["proof"])
        fields = {name: entry.body[name] for name in ("old", "new")}
        new.verify(proof, _takeover(fields, entry.previous), Purpose.ROTATION)
    except (KeyError, TypeError, ValueError, SignatureInvalid) as error:
        raise LedgerError(f"ledger entry {entry.sequence}: the new key did not take over: {error}") from error
    return new


def _rotated(entry: Entry) -> tuple[PublicKey, PublicKey]:
    try:
        old, new = (PublicKey(bytes.fromhex(entry.body[name])) for name in ("old", "new"))
    except (KeyError, TypeError, ValueError, KeyFileError) as error:
        raise LedgerError(f"ledger entry {entry.sequence} (rotation) is malformed: {error!r}") from error
    return old, new


def _takeover(fields: Mapping[str, str], previous: str) -> bytes:
    return canonical.encode({**fields, "previous": previous})


def _time(entry: Entry) -> datetime:
    try:
        return read_time(entry.at)
    except ValueError as error:
        raise LedgerError(f"ledger entry {entry.sequence} bears no time: {error}") from error


def _content(sequence: int, kind: str, at: str, body: Mapping[str, Any], previous: str, form: int) -> bytes:
    return canonical.encode(
        {"format": form, "sequence": sequence, "kind": kind, "at": at, "body": body, "previous": previous}
    )
