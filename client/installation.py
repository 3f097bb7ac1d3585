"""Which FedPath is installed here."""

from __future__ import annotations

from importlib.metadata import version

from privacy.code_hash import code_hash
from privacy.ledger.account import Installed


def installed() -> Installed:
    """This process' own installation: its code's hash, and the version that it says it is."""
    return Installed(code_hash(), version("fedpath"))
