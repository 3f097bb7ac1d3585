"""The processes that `test_store_crash` kills: forked from this one, which has paid for the imports once.

A life is what a runner does to its store over two rounds, with an evaluation and a revocation; it says on a pipe what it
has done. It kills itself, SIGKILL, at the n-th point between two writes (`crash_child.Points`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401 - so that no life has to
import sqlalchemy as sql

from privacy import keys
from server.home import Home
from server.records import Hospital, Row
from strategies.intake import Verdict
from tests.contract.crash_child import Points, run
from tests.federation.simulator import initial
from tests.store_cases import CAMPAIGN, TRAINED, opened

NAMES = ("north", "south")
ROW = Row("roi", "classification", "accuracy", 0.5, 0.25, 0.75, 9, further=False)
_MADE = ("hospitals", "journal", "evaluations")  # of the tables, those whose making is a point


def life(folder: Path, say: Callable[[str], None]) -> None:
    """Open, enrol, begin, two rounds with what is owed after each, an evaluation, and a hospital that leaves."""
    store = Home.open(folder).store()
    for name in NAMES:
        if name not in store.hospitals() and name not in store.revoked():
            key = keys.of_seed(name.ljust(32).encode()).public
            store.enrol(Hospital(name, key, name.encode(), evaluator=False))
            say(f"enrolled {name}")
    store.begin(CAMPAIGN, initial(), "1")
    for number in (1, 2):
        if store.progress("spring").rounds < number:
            begun = opened(store, number)
            store.asked(begun, NAMES)
            data = b"release %d" % number
            verdict = Verdict(
                "north", "scale/roi", None, store.put_aside("spring", data).name, len(data), 0.1
            )
            store.answered(begun, "north", "releases", len(data))
            receipts = dict.fromkeys(NAMES, b"receipt %d" % number)
            store.commit_round(begun, TRAINED, [verdict], receipts, {}, keep_releases=True)
            say(f"committed {number}")
        for name, owed in store.owed().items():
            store.delivered(owed, "kept")
            say(f"delivered {name} {owed.number}")
    if not store.evaluation("spring", "sft"):
        store.commit_evaluation("spring", "sft", [ROW], 2)
        say("evaluated")
    if "south" not in store.revoked():
        store.revoke("south", "left")
        say("revoked")
    store.finished("spring")


class StorePoints(Points):
    """The points of the ledger's lives, for a store: its connections stay open, and its journal's entries have kinds."""

    def __init__(self, last: int, say: Callable[[str], None]) -> None:
        super().__init__(last, say)
        sql.event.listen(sql.Pool, "checkin", lambda *a: self._closed())

    def _statement(self, when: str, statement: str, values: Any) -> None:
        words = statement.replace("IF NOT EXISTS", "").split()
        if words[0] in ("INSERT", "UPDATE", "DELETE"):
            self._wrote = True
            row = values[0] if isinstance(values, list) else values
            kind = "" if words[2] != "journal" else row["kind"] if isinstance(row, dict) else row[1]
            table = words[1 if words[0] == "UPDATE" else 2]
            self._pass(f"{when} {words[0]} {table} {kind}".strip())
        elif words[0] == "CREATE":
            self._wrote = True
            if words[2] in _MADE:
                self._pass(f"{when} CREATE {words[2]}")


def main() -> None:
    """Serve requests, one JSON object a line: folder, last."""
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(run(partial(life, Path(asked["folder"])), asked["last"], StorePoints)), flush=True)


if __name__ == "__main__":
    main()
