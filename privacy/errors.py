"""The errors of `privacy`.  A message says what, where, and what to do; only codes ever leave a hospital.

PrivacyError
├── MechanismError      a number or a tensor that would void the guarantee
├── PlanError           a plan that does not parse or contradicts itself
├── PolicyError         the hospital's policy file needs mending
├── WireError           hostile or damaged bytes
├── KeyFileError        a key file that is missing, readable by others, or no key
├── EnrolmentFileError  an invitation, request or kit that must not be taken
├── SignatureInvalid    bytes not signed by the key that should have signed them
├── PlanRefused         the hospital says no to a plan: carries a `Refusal`
│   ├── BudgetError         ... because its budget does not hold another such round
│   └── RoundConflict       ... because it answered that round under another plan
├── LedgerError         a ledger that was damaged, rewritten or misused
├── CheckpointError     a step's checkpoint that is damaged, stale or another round's
├── SealError           a delta that is not what was reserved and paid for
├── ReleaseRefused      a release that fails a check: carries a `ReleaseFault`
├── SecaggRefused       a step of secure aggregation that must not be taken: carries a `SecaggFault`
├── EgressError         a reply that holds anything but releases and codes
└── AuditError          a file that an audit can't read at all
"""

from __future__ import annotations

from privacy.codes import Refusal, ReleaseFault, SecaggFault


class PrivacyError(Exception):
    """Every error that this package raises on purpose."""


class MechanismError(PrivacyError, ValueError):
    """A parameter or tensor under which the privacy guarantee would not hold."""


class PlanError(PrivacyError, ValueError):
    """A round plan that does not parse or contradicts itself."""


class PolicyError(PrivacyError, ValueError):
    """A policy file with a wrong, missing or unknown key."""


class WireError(PrivacyError, ValueError):
    """Bytes from outside that are not what their format says."""


class KeyFileError(PrivacyError):
    """A key file that can't be used as it lies there."""


class EnrolmentFileError(PrivacyError, ValueError):
    """An invitation, a request or a kit that was tampered with, has expired, or is meant for someone else."""


class SignatureInvalid(PrivacyError):  # noqa: N818 - reads as what happened
    """A signature that the expected key did not make over these bytes for this purpose."""


class PlanRefused(PrivacyError):  # noqa: N818 - reads as what happened
    """The hospital refuses a plan.  `code` may cross; the message stays with the hospital's IT."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code = code


class BudgetError(PlanRefused):
    """The budget does not hold the plan's round; `rounds_left` such rounds still fit (0)."""

    def __init__(self, message: str, rounds_left: int) -> None:
        super().__init__(Refusal.BUDGET_EXHAUSTED, message)
        self.rounds_left = rounds_left


class RoundConflict(PlanRefused):
    """The same campaign and round were answered, or are being answered, under another plan."""

    def __init__(self, message: str) -> None:
        super().__init__(Refusal.ROUND_CONFLICT, message)


class LedgerError(PrivacyError):
    """The ledger is damaged, was rewritten, or was asked for a step that its state forbids."""


class CheckpointError(PrivacyError):
    """A step's checkpoint that no round may go on from: damaged, stale, or of another reservation."""


class SealError(PrivacyError):
    """A delta that does not match the plan and the reservation under which it would leave."""


class ReleaseRefused(PrivacyError):  # noqa: N818 - reads as what happened
    """A release that failed a check.  `code` names the check."""

    def __init__(self, code: ReleaseFault, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class SecaggRefused(PrivacyError):  # noqa: N818 - reads as what happened
    """A message or a step of secure aggregation that was refused. `code` names why, `hospital` whose it was if known."""

    def __init__(self, code: SecaggFault, message: str, hospital: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.hospital = hospital


class EgressError(PrivacyError):
    """A reply that may not leave the hospital."""


class AuditError(PrivacyError):
    """A file that an audit can't read: it is missing, or is neither an export nor a ledger."""
