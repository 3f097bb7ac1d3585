"""One book by itself: are its entries all there, in order, unchanged, and signed by the keys that held it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from privacy import canonical
from privacy.audit.findings import Code, Finding, Note
from privacy.audit.sources import Source
from privacy.errors import LedgerError, SignatureInvalid
from privacy.keys import PublicKey, Purpose
from privacy.ledger.entries import FORMAT, START, Entry, Kind, check_chain, first_key, read_time, taken_over

_NOT_SIGNED = {Code.CHANGED, Code.BAD_SIGNATURE, Code.UNKNOWN_FORMAT}
_TRIED = 8  # entries that a key may vouch for: one that was changed must not hide whose book it is


@dataclass(frozen=True)
class Chain:
    """What the walk through a book found.

    `keys` are those that held it, in order, each proved by an entry that it signed; none where no given key vouches
    for it.  `intact` says whether its
    entries are a history that can be read on: all that the file holds are as they were written, and in order.
    """

    keys: tuple[PublicKey, ...]
    intact: bool
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()


def check(source: Source, trusted: Sequence[PublicKey]) -> Chain:
    """Walk the whole book, and name everything that is wrong with it.

    One of `trusted` must vouch for it: the key that signed its first entries, or any that it was rotated to.  (They
    are those of the book's own side: a hospital's key vouches for no journal.)
    """
    damage = [Finding(Code.DAMAGED, source.name, None, text) for text in source.damage]
    if not source.entries:
        return _empty(source, damage)
    first = _first_key(source, trusted)
    if first is None:
        return Chain((), False, (*damage, _unknown_key(source, trusted)))
    walk = _Walk(source.name, first)
    walked = all(map(walk.step, source.entries))
    intact = not damage and all(finding.code is Code.BACK_DATED for finding in walk.findings)
    head = _head(source, walk.holder, walk.findings) if walked and source.export is not None else ()
    return Chain(tuple(walk.proved), intact, (*damage, *walk.findings, *head), tuple(walk.notes))


class _Walk:
    """From entry to entry; `check_chain` is the law, and what it refuses is looked at closer."""

    def __init__(self, book: str, first: PublicKey) -> None:
        self.book = book
        self.holder = first
        self.proved: dict[PublicKey, None] = {}  # in order
        self.findings: list[Finding] = []
        self.notes: list[Note] = []
        self._last: Entry | None = None

    def step(self, entry: Entry) -> bool:
        """Check one entry; False where nothing after it can be checked."""
        last = self._last
        if last is not None and entry.previous != last.hash and entry.previous == _digest(last):
            last = replace(
                last, hash=entry.previous
            )  # that a hash was changed was said once, at its own entry
        try:
            after = check_chain((entry,), self.holder, last)
        except LedgerError as error:
            other = Code.BAD_ROTATION if entry.kind == Kind.ROTATION else Code.ILLEGAL_ENTRY
            found = list(_faults(entry, last, self.holder)) or [(other, str(error))]
            if not _NOT_SIGNED & {code for code, _ in found}:
                self.proved[self.holder] = None
            self.findings += [Finding(code, self.book, entry.sequence, text) for code, text in found]
            if entry.kind == Kind.ROTATION:
                self.notes.append(
                    Note(
                        self.book,
                        f"entries after {entry.sequence} were not checked: who holds it is not known",
                    )
                )
                return False
        else:
            self.proved |= {self.holder: None, after: None}
            self.holder = after
        self._last = entry
        return True


def _faults(entry: Entry, last: Entry | None, signer: PublicKey) -> Iterator[tuple[Code, str]]:
    """What is wrong with an entry by itself and in its place; nothing where it is its rotation."""
    sequence, before = (1, START) if last is None else (last.sequence + 1, last.hash)
    if entry.sequence != sequence or entry.previous != before:
        after = "the beginning" if last is None else f"entry {last.sequence}"
        yield (
            Code.BROKEN_CHAIN,
            f"entry {entry.sequence} does not follow {after}: entries were removed, added or reordered",
        )
    if entry.format != FORMAT:
        yield (
            Code.UNKNOWN_FORMAT,
            f"entry {entry.sequence} is of format {entry.format}; this fedpath reads format {FORMAT}",
        )
    elif _digest(entry) != entry.hash:
        yield Code.CHANGED, f"entry {entry.sequence}, or its hash, was changed after it was written"
    else:
        try:
            signer.verify(entry.signature, entry.content(), Purpose.LEDGER)
        except SignatureInvalid as error:
            yield Code.BAD_SIGNATURE, f"entry {entry.sequence}: {error}"
    try:
        read_time(entry.at)
    except ValueError as error:
        yield Code.ILLEGAL_ENTRY, f"entry {entry.sequence} bears no time: {error}"
    if last is not None and _earlier(entry.at, last.at):
        yield (
            Code.BACK_DATED,
            f"entry {entry.sequence} is dated {entry.at}, before the one before it ({last.at}): it was back-dated",
        )


def _digest(entry: Entry) -> str:
    return canonical.digest(entry.content())


def _first_key(source: Source, trusted: Sequence[PublicKey]) -> PublicKey | None:
    for key in trusted:
        if _vouches(key, source):
            try:
                return first_key(source.entries, key)
            except LedgerError:  # a rotation without keys; the walk names it
                return key
    return None


def _vouches(key: PublicKey, source: Source) -> bool:
    """Whether the key signed the head, one of the first entries, or its part of a rotation."""
    if source.export is not None and source.export.signed_by(key):
        return True
    rotations = [entry for entry in source.entries if entry.kind == Kind.ROTATION]
    return any(_signed(key, entry) for entry in (*source.entries[:_TRIED], *rotations)) or any(
        _took_over(key, entry) for entry in rotations
    )


def _signed(key: PublicKey, entry: Entry) -> bool:
    try:
        key.verify(entry.signature, entry.content(), Purpose.LEDGER)
    except SignatureInvalid:
        return False
    return True


def _took_over(key: PublicKey, entry: Entry) -> bool:
    try:
        return taken_over(entry) == key
    except LedgerError:
        return False


def _earlier(at: str, than: str) -> bool:
    try:
        return read_time(at) < read_time(than)
    except ValueError:
        return False


def _head(source: Source, holder: PublicKey, found: Sequence[Finding]) -> Iterator[Finding]:
    export = source.export
    assert export is not None
    if not export.signed_by(holder):
        text = f"the export's head was not signed by the key that holds the book, {holder.fingerprint}"
        yield Finding(Code.HEAD_NOT_SIGNED, source.name, None, text)
    last_is_wrong = any(finding.entry == source.entries[-1].sequence for finding in found)
    if not export.whole() and not last_is_wrong:
        text = (
            f"the export should end in entry {export.head['entries']} and ends in entry "
            f"{source.entries[-1].sequence}, or in another one: it was cut short or added to; ask for the whole file"
        )
        yield Finding(Code.CUT_SHORT, source.name, None, text)


def _empty(source: Source, damage: Sequence[Finding]) -> Chain:
    """A new ledger's database is empty; an export never is, nor a database that keeps releases."""
    if damage:
        return Chain((), False, tuple(damage))
    if source.kept == frozenset():
        return Chain((), True, (), (Note(source.name, "it holds no entries yet"),))
    return Chain((), False, (Finding(Code.CUT_SHORT, source.name, None, "all its entries were removed"),))


def _unknown_key(source: Source, trusted: Sequence[PublicKey]) -> Finding:
    given = ", ".join(key.fingerprint for key in trusted) or "none"
    text = f"none of the {source.side}s' keys given ({given}) vouches for it: it is another's book, or was written anew"
    return Finding(Code.UNKNOWN_KEY, source.name, None, text)
