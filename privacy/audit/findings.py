"""What an audit may find: a closed set of names, so that a program can tell them apart as well as a reader."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What is wrong.  Every finding is a reason not to trust a book, or the code or the people behind it."""

    # one book by itself
    DAMAGED = "damaged"  # a part of the file can't be read
    UNKNOWN_KEY = "unknown-key"  # none of the keys given vouches for the book
    CHANGED = "changed"  # an entry, or its hash, is not as it was written
    BAD_SIGNATURE = "bad-signature"  # an entry that the key that held the book did not sign
    BROKEN_CHAIN = "broken-chain"  # entries were removed, added or reordered
    UNKNOWN_FORMAT = "unknown-format"  # an entry of a format that this version does not read
    BACK_DATED = "back-dated"  # an entry bears a time before that of the entry it follows
    BAD_ROTATION = "bad-rotation"  # a new key that did not take over from the one that held the book
    HEAD_NOT_SIGNED = "head-not-signed"  # the export was not written by the key that holds the book
    CUT_SHORT = "cut-short"  # entries are missing at the end
    ILLEGAL_ENTRY = "illegal-entry"  # its form, or its place in the order of things, is not allowed
    FORGED_RECEIPT = "forged-receipt"  # not signed by the coordinator
    RECEIPT_CONTRADICTS = "receipt-contradicts"  # the coordinator's word is another than the ledger's
    KEPT_RELEASES = "kept-releases"  # a ledger's database keeps other releases than were paid for
    # epsilon
    ACCOUNTANTS_DISAGREE = "accountants-disagree"  # two accountants differ on what the events come to
    EPSILON_UNDERSTATED = "epsilon-understated"  # less in the log of a reply than its events come to
    EPSILON_OVERSTATED = "epsilon-overstated"  # more than its events come to
    OVER_BUDGET = "over-budget"  # a reservation beyond what the policy in force allowed
    AGAINST_POLICY = "against-policy"  # one that it did not allow at all, or a failed self-test forbade
    # both sides
    SENT_ELSEWHERE = "sent-elsewhere"  # a reply that went to another key than the coordinator's
    NOT_LOGGED = "not-logged"  # it arrived at the coordinator, and the ledger does not say that it left
    FORKED = "forked"  # two copies of one book tell different stories
    NOT_ENROLLED = "not-enrolled"  # the journal knows another key, or another name for it, or neither
    NOT_PAID = (
        "not-paid"  # the coordinator has it, signed by the hospital, and it is not in the hospital's ledger
    )
    ACCEPTED_TWICE = "accepted-twice"  # one payment, counted twice by the coordinator
    PLAN_MISMATCH = "plan-mismatch"  # the hospital paid for another plan than the coordinator's round has
    EVENT_MISMATCH = "event-mismatch"  # one side recorded another mechanism
    RESERVATION_MISMATCH = "reservation-mismatch"  # the coordinator saw another entry of the ledger
    RECEIPT_MISMATCH = "receipt-mismatch"  # a receipt says another thing than the journal
    OUT_OF_TIME = "out-of-time"  # paid before the round was opened, or after it was committed
    # replay: the journal against the files that were handed over beside it
    MISSING_FILE = "missing-file"  # a state, memory or release that the journal says was kept
    CHANGED_FILE = "changed-file"  # one that holds other bytes than the journal says
    STRAY_FILE = "stray-file"  # one that the journal knows nothing of
    REFUSED_RELEASE = "refused-release"  # one that was counted and should have been refused
    NOT_DEFINED = "not-defined"  # a round that the campaign's definition does not give
    STATE_DIFFERS = "state-differs"  # an expert's state is not what its releases come to
    MEMORY_DIFFERS = "memory-differs"  # nor what its server optimiser remembers
    REPORT_DIFFERS = "report-differs"  # nor what the journal says of whose releases counted for what


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: in which book, at which entry (None: the book as a whole), in plain words."""

    code: Code
    book: str
    entry: int | None
    text: str

    def __str__(self) -> str:
        where = self.book if self.entry is None else f"{self.book}, entry {self.entry}"
        return f"{self.code}: {where}: {self.text}"


@dataclass(frozen=True)
class Note:
    """What an auditor should know, and nobody did wrong."""

    book: str
    text: str

    def __str__(self) -> str:
        return f"{self.book}: {self.text}"
