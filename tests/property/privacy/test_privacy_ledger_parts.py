"""Long records of a book: cut into entries that no reader's bound is passed by, and put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import canonical
from privacy.errors import LedgerError
from privacy.keys import PrivateKey
from privacy.ledger import parts
from privacy.ledger.database import MAX_BODY
from privacy.ledger.entries import Entry, check_chain, follow
from privacy.ledger.parts import LETTERS, PART, cut, whole

KEY = PrivateKey(Ed25519PrivateKey.generate())
AT = datetime(2030, 1, 1, tzinfo=UTC)
RECORDS = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=8), "times": st.sampled_from([1, LETTERS // 2, 3 * LETTERS])}
).map(lambda drawn: {"text": drawn["name"] * (drawn["times"] // len(drawn["name"]) or 1), "more": [1, None]})


def book(records: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """A chain that tells of these records."""
    entries: list[Entry] = []
    for record in records:
        for kind, body in cut("round", record):
            entries.append(follow(entries[-1] if entries else None, kind, AT, body, KEY))
    return entries


@settings(max_examples=25, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_what_is_cut_comes_back_whole(records: list[dict[str, Any]]) -> None:
    """Catches a letter lost at a cut, a record that takes its neighbour's parts, and an entry over a reader's bound."""
    entries = book(records)
    check_chain(entries, KEY.public)
    assert all(len(canonical.encode(dict(entry.body))) <= MAX_BODY for entry in entries)
    told = list(whole(entries))
    assert [entry.kind for entry in told] == ["round"] * len(records)
    assert [entry.body for entry in told] == records
    last = {entry.sequence: entry.hash for entry in entries}
    assert all(entry.hash == last[entry.sequence] for entry in told)


@pytest.mark.parametrize("letter", ["\\", '"', "\U0001f9ec", "\x7f", "é"])
def test_the_worst_letters_fit(letter: str) -> None:
    """Catches a cut that counts letters where escapes or UTF-8 make each several bytes."""
    entries = book([{"text": letter * (2 * LETTERS)}])
    assert len(entries) > 2
    assert all(len(canonical.encode(dict(entry.body))) <= MAX_BODY for entry in entries)
    assert next(whole(entries)).body == {"text": letter * (2 * LETTERS)}


@pytest.mark.parametrize(
    "wrong", ["one less", "one twice", "reordered", "another's", "no text", "none closes", "no JSON"]
)
def test_parts_that_make_no_record_are_given_as_they_are(wrong: str) -> None:
    """Catches a reader that puts together what the closing entry does not say: its hash would bind nothing."""
    one, other = (book([{"text": letter * (2 * LETTERS)}]) for letter in "ab")
    *pieces, last = one
    broken = {
        "one less": [*pieces[1:], last],
        "one twice": [pieces[0], *pieces, last],
        "reordered": [*pieces[::-1], last],
        "another's": [other[0], *pieces[1:], last],
        "no text": [replace(pieces[0], body={"text": 7}), *pieces[1:], last],
        "none closes": pieces,
        "no JSON": [
            replace(pieces[0], body={"text": "{"}),
            replace(last, body={"parts": 1, "sha256": canonical.digest(b"{")}),
        ],
    }[wrong]
    assert list(whole(broken)) == broken
    assert any(entry.kind == PART for entry in whole(broken))


def test_a_record_that_no_reader_would_put_together_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a book that can't be read any more from its next opening on."""
    monkeypatch.setattr(parts, "MAX_RECORD", 1000)
    with pytest.raises(LedgerError, match="over the 1000"):
        list(cut("round", {"text": "a" * 1000}))
