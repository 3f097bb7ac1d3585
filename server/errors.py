"""Errors of the consortium.  A message says what, where, and what to do.

ServerError
├── CampaignError       a campaign file with a wrong, missing or unknown key, or initial experts that don't fit it
│   └── CampaignChanged     the name was begun under another definition
├── CampaignBusy        another process runs the campaign now
├── CampaignStopped     the coordinator ended its run
├── HomeError           a folder that is no consortium home, or is one already
├── EnrolmentError      a hospital that can't be invited, enrolled or revoked so
├── StoreError          the database or an expert's file is damaged, or was asked for an illegal step
│   ├── HospitalRevoked     one of those whose answers were to be committed was revoked meanwhile
│   ├── DatabaseAway        the database can't be had, and was waited for as long as there was patience
│   ├── TransactionLost     the database went away in the middle of a transaction: nothing of it stands
│   └── KeyReplaced         the journal is held by a later key of the coordinator's
├── RoundFailed         too few hospitals answered: nothing was committed
├── EvaluationFailed    no evaluator gave figures
├── TrackerError        a tracker that is not installed, can't be reached, or was named with a password
└── SuperLinkError      Flower's own programs did not do what was asked
"""

from __future__ import annotations


class ServerError(Exception):
    """Every error that this package raises on purpose."""


class CampaignError(ServerError, ValueError):
    """A campaign file that can't be run as it stands."""


class CampaignChanged(CampaignError):  # noqa: N818 - reads as what happened
    """The campaign was begun under another definition; what is committed can't be continued by this one."""


class CampaignBusy(ServerError):  # noqa: N818 - reads as what happened
    """Another process runs the campaign at this moment."""


class CampaignStopped(ServerError):  # noqa: N818 - reads as what happened
    """The coordinator ended the campaign's run: it commits no round any more."""


class HomeError(ServerError):
    """A folder that can't serve as the consortium's home."""


class EnrolmentError(ServerError, ValueError):
    """A hospital that can't be invited, enrolled or revoked as was asked."""


class StoreError(ServerError):
    """The store is damaged, unreachable, or its state forbids the step."""


class HospitalRevoked(StoreError):  # noqa: N818 - reads as what happened
    """A hospital was revoked before what it sent was committed: `names`; nothing of it is."""

    def __init__(self, message: str, names: frozenset[str]) -> None:
        super().__init__(message)
        self.names = names


class DatabaseAway(StoreError):  # noqa: N818 - reads as what happened
    """The database can't be had now; it was waited for as long as there was patience."""


class TransactionLost(StoreError):  # noqa: N818 - reads as what happened
    """The database went away before a transaction was committed: nothing of it stands, and it may be done again."""


class KeyReplaced(StoreError):  # noqa: N818 - reads as what happened
    """The store was opened with a key of the coordinator's that another took the place of."""


class RoundFailed(ServerError):  # noqa: N818 - reads as what happened
    """A round that did not reach its quorum; the campaign may be run again and goes on from there."""


class EvaluationFailed(ServerError):  # noqa: N818 - reads as what happened
    """An evaluation that no evaluator answered; the campaign may be run again and goes on from there."""


class TrackerError(ServerError):
    """An experiment tracker can't take the figures; the message says what to do."""


class SuperLinkError(ServerError):
    """A Flower program failed; the message quotes what it said."""
