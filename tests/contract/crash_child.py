"""The processes that `test_ledger_crash` kills: forked from this one, which has paid for the imports once.

A life is what an agent does to its ledger over two rounds; it says on a pipe what it has done, as an agent sends.
It kills itself, SIGKILL, at the n-th point between two writes: before and after each statement that writes, before
and after each commit.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401 - so that no life has to
import sqlalchemy as sql

from privacy import accounting, canonical, keys
from privacy.egress_record import EgressRecord
from privacy.ledger.store import Ledger
from privacy.receipt import ACCEPTED, Receipt
from tests.privacy_cases import CODE, POLICY, round_of

Say = Callable[[str], None]
EXPERTS = ("scale/roi", "scale/wsi")


def life(folder: Path, place: Path | str, say: Callable[[str], None]) -> None:
    """Open, settle, then two rounds; the second one's first training fails, and a patient withdraws before it."""
    coordinator = keys.load(folder / "coordinator.key")
    ledger = Ledger(place, keys.load(folder / "release.key"))
    ledger.void_unspent()
    for number in (1, 2):
        plan = round_of(number)
        releases = ledger.sent(plan.campaign, number, plan.hash)
        if number == 2 and releases is None:
            ledger.withdrawn(1)
            failed = ledger.reserve(plan, POLICY, CODE)
            say(f"reserved {number}")
            ledger.void(failed)
        if releases is None:
            reservation = ledger.reserve(plan, POLICY, CODE)
            say(f"reserved {number}")
            releases = {expert: os.urandom(16) for expert in EXPERTS}  # a second training gives other bytes
            ledger.spend(reservation, releases)
            say(f"spent {number}")
        records = [
            EgressRecord(f"release/{expert}", canonical.digest(data), len(data), 1.0, CODE)
            for expert, data in sorted(releases.items())
        ]
        ledger.log_egress(records)
        say(f"sent {number} {' '.join(record.sha256 for record in records)}")
        digests = {expert: canonical.digest(data) for expert, data in releases.items()}
        paid = next(
            e.hash
            for e in reversed(ledger.entries())
            if e.kind == "reservation" and e.body["round"] == number
        )
        outcomes = dict.fromkeys(EXPERTS, ACCEPTED)
        receipt = Receipt("north", plan.campaign, number, plan.hash, digests, outcomes, paid)
        ledger.receipt(receipt.sign(coordinator), coordinator.public)


class Points:
    """Says each point between two writes as it is passed; dies at the `last` one (0: at none)."""

    def __init__(self, last: int, say: Callable[[str], None]) -> None:
        self._last, self._say = last, say
        self._passed = 0
        self._wrote = False
        sql.event.listen(
            sql.Engine, "before_cursor_execute", lambda *a: self._statement("before", a[2], a[3])
        )
        sql.event.listen(sql.Engine, "after_cursor_execute", lambda *a: self._statement("after", a[2], a[3]))
        sql.event.listen(sql.Engine, "commit", lambda *a: self._commit())
        sql.event.listen(sql.Pool, "close", lambda *a: self._closed())

    def _statement(self, when: str, statement: str, values: Any) -> None:
        words = statement.split()
        if words[0] in ("INSERT", "CREATE", "UPDATE", "DELETE"):
            self._wrote = True
            row = values[0] if isinstance(values, list) else values
            kind = "" if words[2] != "entries" or not row else f" {_kind(row)}"
            self._pass(f"{when} {words[0]} {words[2]}{kind}")

    def _commit(self) -> None:
        if self._wrote:
            self._pass("before commit")

    def _closed(self) -> None:
        if self._wrote:
            self._wrote = False
            self._pass("after commit")

    def _pass(self, name: str) -> None:
        self._passed += 1
        self._say(f"at {name}")
        if self._passed == self._last:
            self._say("killed")
            os.kill(os.getpid(), signal.SIGKILL)


def _kind(row: Any) -> str:
    return str(row["kind"] if isinstance(row, dict) else row[1])


def run(act: Callable[[Say], None], last: int, points: Callable[[int, Say], object]) -> list[str]:
    """One life, `act`, in a process of its own; what it said until it ended or was killed at the `last` of its points."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)

        def say(line: str) -> None:
            os.write(writer, line.encode() + b"\n")

        points(last, say)
        try:
            act(say)
            say("lived")
        except Exception as error:
            say(f"failed {error!r}")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read().splitlines()
    os.waitpid(child, 0)
    return said


def main() -> None:
    """Serve requests, one JSON object a line: folder, url or null, last."""
    accounting.epsilon([round_of(1).event()], POLICY.delta)  # known to every life, as an agent knows it
    for line in sys.stdin:
        asked = json.loads(line)
        folder = Path(asked["folder"])
        act = partial(life, folder, asked["url"] or folder / "ledger.db")
        print(json.dumps(run(act, asked["last"], Points)), flush=True)


if __name__ == "__main__":
    main()
