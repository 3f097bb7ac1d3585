"""`fedpath-audit`, whole: the offline commands of `privacy`, the one that trains, and the one that aggregates."""

from __future__ import annotations

from auditor.cli_replay import replay
from client.cli_canary import canary
from privacy.cli import report, verify
from privacy.cli_plan import plan
from privacy.command_line import command, program

_KEYS = "--key north.pub --key south.pub --coordinator coordinator.pub"
app = program(
    "fedpath-audit",
    "Check hospitals' ledgers and the coordinator's journal, offline, with public keys alone.",
    {
        "The books": (
            command(verify, f"verify north.export south.export journal.export {_KEYS}"),
            command(
                report,
                f"report north.export south.export journal.export {_KEYS} --out audit.html --pdf audit.pdf",
            ),
            command(replay, "replay journal.export releases --coordinator coordinator.pub"),
        ),
        "Epsilon": (
            command(plan, "plan --sampling-rate 0.1 --steps 20 --rounds 10 --epsilon 3 --delta 1e-5"),
            command(canary, "canary HOME --canaries 1000"),
        ),
    },
)
