"""Processes that race for one budget, on both databases: real processes, really killed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from privacy import accounting
from privacy.errors import BudgetError
from tests.privacy_cases import CODE, PLAN, POLICY, Hospital, round_of

TIGHT = replace(POLICY, epsilon_budget=3.0)  # a few rounds
AGENT = """
import sys
from dataclasses import replace
from pathlib import Path
from privacy import keys
from privacy.errors import BudgetError
from privacy.ledger.store import Ledger
from tests.privacy_cases import CODE, POLICY, round_of

folder, url, rounds, budget, campaign = sys.argv[1:]
policy = replace(POLICY, epsilon_budget=float(budget))
ledger = Ledger(url or Path(folder) / "ledger.db", keys.load(Path(folder) / "release.key"))
print("ready", flush=True)
sys.stdin.readline()  # all start together
for number in range(1, int(rounds) + 1):
    try:
        reservation = ledger.reserve(round_of(number, campaign=campaign), policy, CODE)
    except BudgetError:
        break
    print("reserved", number, flush=True)
    ledger.spend(reservation, {"scale/roi": b"release %d" % number})
    print("spent", number, flush=True)
"""


class Racer:
    """A process that reserves and spends rounds of one campaign until the budget ends, from `start` on."""

    def __init__(self, home: Hospital, rounds: int, campaign: str) -> None:
        arguments = [home.folder, home.url or "", rounds, TIGHT.epsilon_budget, campaign]
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self) -> list[str]:
        out, _ = self.process.communicate(timeout=300)
        assert self.process.returncode == 0
        return out.splitlines()

    def kill_after(self, lines: int) -> list[str]:
        """SIGKILL when it has said so many lines; all that it said."""
        assert self.process.stdout is not None
        said = [self.process.stdout.readline() for _ in range(lines)]
        self.process.kill()
        rest, _ = self.process.communicate()
        return [line for line in "".join([*said, rest]).splitlines() if line]


def test_processes_never_overdraw_together(north: Hospital) -> None:
    """Catches a budget that is read, and then written, in two transactions; and one that refuses too early."""
    rounds = north.ledger().rounds_left(PLAN, TIGHT)
    racers = [Racer(north, rounds + 1, campaign) for campaign in ("spring", "summer", "autumn", "winter")]
    for racer in racers:
        racer.start()
    said = [racer.finish() for racer in racers]
    events = north.ledger().summary().events
    assert len(events) == rounds == sum(len(lines) for lines in said) // 2
    assert accounting.epsilon(events, TIGHT.delta) <= TIGHT.epsilon_budget
    north.ledger().verify(north.key.public)


def test_one_round_is_reserved_by_one_process(north: Hospital) -> None:
    """Catches two processes that both train the same round: two releases for one price."""
    racers = [Racer(north, 1, "spring") for _ in range(3)]
    for racer in racers:
        racer.start()
    ends = [racer.process.wait(300) for racer in racers]
    for racer in racers:
        racer.process.communicate()
    assert sorted(ends) == [0, 1, 1]  # the others ended with RoundConflict
    assert len(north.ledger().summary().events) == 1


@pytest.mark.parametrize("lines", [2, 7])
def test_killed_in_full_flight_loses_nothing_that_was_told(north: Hospital, lines: int) -> None:
    """Catches a ledger that a kill in mid-write leaves broken, locked, or behind what went out."""
    racer = Racer(north, 30, "spring")
    racer.start()
    said = racer.kill_after(lines)
    ledger = north.ledger()
    ledger.verify(north.key.public)
    for line in said:
        word, number = line.split()
        if word == "spent":
            releases = ledger.sent("spring", int(number), round_of(int(number)).hash)
            assert releases == {"scale/roi": b"release %s" % number.encode()}
    assert len(ledger.summary().events) >= sum(line.startswith("reserved") for line in said)
    ledger.void_unspent()
    assert ledger.summary().reserved == 0
    assert ledger.summary().spent >= sum(line.startswith("spent") for line in said)


def test_the_budget_holds_over_restarts(north: Hospital) -> None:
    """Catches a budget that begins anew with the process."""
    rounds = north.ledger().rounds_left(PLAN, TIGHT)
    racer = Racer(north, rounds, "spring")
    racer.start()
    assert racer.finish()[-1] == f"spent {rounds}"
    with pytest.raises(BudgetError):
        north.ledger().reserve(round_of(rounds + 1), TIGHT, CODE)
