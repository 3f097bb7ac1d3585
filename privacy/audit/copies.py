"""Several copies of one book, taken at different times: they must begin alike, and the longest is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from privacy.audit.chain import Chain
from privacy.audit.findings import Code, Finding, Note
from privacy.audit.sources import Source

Checked = tuple[Source, Chain]


def forks(books: Sequence[Checked]) -> Iterator[Finding]:
    """Copies of one book must begin alike.  Only those whose chain holds are compared."""
    for (one, chain), (other, also) in combinations([book for book in books if book[1].intact], 2):
        if not set(chain.keys) & set(also.keys):
            continue
        for mine, theirs in zip(one.entries, other.entries, strict=False):
            if mine.hash != theirs.hash:
                text = f"entry {mine.sequence} is another than in {other.name}: the book was rewritten in between"
                yield Finding(Code.FORKED, one.name, mine.sequence, text)
                break


def newest(books: Sequence[Checked]) -> tuple[list[Checked], list[Note]]:
    """The books without those whose every entry stands in another copy too, and a note on each that was left out.

    Of two equal copies a database is read, as it shows the kept releases as well, or else the first.
    """
    order = sorted(books, key=lambda book: (len(book[0].entries), book[0].kept is not None), reverse=True)
    read: list[Checked] = []
    notes = []
    for source, chain in order:
        longer = next((other for other, also in read if _begins(source, chain, other, also)), None)
        if longer is None:
            read.append((source, chain))
        else:
            text = (
                f"all its entries stand in {longer.name} too, which is as new or newer: that one was read on"
            )
            notes.append(Note(source.name, text))
    return [book for book in books if book in read], notes


def _begins(older: Source, chain: Chain, newer: Source, also: Chain) -> bool:
    """Whether the newer book begins with all of the older one, both being what their signers wrote."""
    if not (older.side is newer.side and chain.intact and also.intact and older.entries):
        return False
    return newer.entries[len(older.entries) - 1].hash == older.entries[-1].hash
