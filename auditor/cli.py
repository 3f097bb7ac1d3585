"""`fedpath-audit`, whole: the offline commands of `privacy`, the one that trains, and the one that aggregates."""

from __future__ import annotations

from auditor.cli_replay import replay
from client.cli_canary import canary
from privacy.cli import app as app

app.command()(replay)
app.command()(canary)
