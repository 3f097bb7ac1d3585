"""What the ledger says of the running code's self-test, in words for the hospital's IT."""

from __future__ import annotations

from privacy.ledger.account import Selftest

NEVER = "no self-test under this code: run `fedpath-hospital selftest`"


def selftest_word(found: Selftest | None) -> str:
    """`found` is the last verdict on the running code (`Ledger.last_selftest`); None where there is none."""
    if found is None:
        return NEVER
    if found.passed:
        return f"this code passed its self-test at {found.at}"
    return (
        f"this code FAILED its self-test at {found.at} ({', '.join(found.findings)}): the agent reserves nothing; "
        "mend or replace the installation, then run `fedpath-hospital selftest`"
    )
