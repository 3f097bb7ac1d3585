"""`fedpath-audit`, whole: the offline commands of `privacy`, and the one that trains."""

from __future__ import annotations

from client.cli_canary import canary
from privacy.cli import app

app.command()(canary)
