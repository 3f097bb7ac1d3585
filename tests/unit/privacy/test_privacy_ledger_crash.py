"""A hospital's process killed at any instant never under-counts: real processes, really killed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from privacy import accounting, canonical
from privacy.errors import BudgetError
from tests.privacy_cases import PLAN, POLICY, Hospital, hospital, round_of

BUDGET = 3.0  # a few rounds
AGENT = """
import sys
from dataclasses import replace
from pathlib import Path
from privacy import keys
from privacy.errors import BudgetError
from privacy.ledger.store import Ledger
from tests.privacy_cases import CODE, POLICY, round_of

folder, stop, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
policy, campaign = replace(POLICY, epsilon_budget=float(sys.argv[4])), sys.argv[5]
ledger = Ledger(folder / "ledger.db", keys.load(folder / "release.key"))

def say(word):
    print(word, flush=True)
    if stop == word.split()[0]:
        sys.stdin.read()  # until killed

for number in range(1, rounds + 1):
    try:
        reservation = ledger.reserve(round_of(number, campaign=campaign), policy, CODE)
    except BudgetError:
        break
    say(f"reserved {number}")
    ledger.spend(reservation, {"scale/roi": b"release %d" % number})
    say(f"spent {number}")
"""


TIGHT = replace(POLICY, epsilon_budget=BUDGET)


def agent(home: Hospital, stop: str, rounds: int, campaign: str = "spring") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", AGENT, str(home.folder), stop, str(rounds), str(BUDGET), campaign]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_after(process: subprocess.Popen[str], lines: int) -> list[str]:
    """SIGKILL the process when it has said so many lines; all that it said."""
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(lines)]
    process.kill()
    said += [line.strip() for line in process.stdout]
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    return [line for line in said if line]


@pytest.fixture
def north(tmp_path: Path) -> Hospital:
    return hospital(tmp_path)


def test_killed_between_reserve_and_spend_still_counts_until_voided(north: Hospital) -> None:
    """Catches a reservation that was not durable, or a void that is not certain."""
    assert kill_after(agent(north, "reserved", 1), 1) == ["reserved 1"]
    ledger = north.ledger()
    assert ledger.epsilon(1e-5) == accounting.epsilon([PLAN.event()], 1e-5)
    assert ledger.sent("spring", 1, PLAN.hash) is None
    assert ledger.void_unspent() == 1
    assert ledger.epsilon(1e-5) == 0.0
    assert kill_after(agent(north, "spent", 1), 2) == ["reserved 1", "spent 1"]  # the same round, asked again
    assert len(north.ledger().summary().events) == 1


def test_killed_after_the_spend_gives_the_same_bytes(north: Hospital) -> None:
    """Catches a spend that was told before it was durable, or whose bytes are lost."""
    kill_after(agent(north, "spent", 1), 2)
    ledger = north.ledger()
    assert ledger.void_unspent() == 0
    assert ledger.sent("spring", 1, PLAN.hash) == {"scale/roi": b"release 1"}
    assert ledger.epsilon(1e-5) == accounting.epsilon([PLAN.event()], 1e-5)


@pytest.mark.parametrize("lines", [2, 5, 8])
def test_killed_in_full_flight_loses_nothing_that_was_told(north: Hospital, lines: int) -> None:
    """Catches a ledger that a kill in mid-write leaves broken, or behind what went out."""
    said = kill_after(agent(north, "never", 30), lines)
    ledger = north.ledger()
    ledger.verify(north.key.public)
    for line in said:
        word, number = line.split()
        if word == "spent":
            releases = ledger.sent("spring", int(number), round_of(int(number)).hash)
            assert releases == {"scale/roi": b"release %s" % number.encode()}
    reserved = sum(line.startswith("reserved") for line in said)
    assert len(ledger.summary().events) >= reserved
    ledger.void_unspent()
    assert ledger.summary().reserved == 0
    assert ledger.summary().spent >= sum(line.startswith("spent") for line in said)


def test_two_processes_never_overdraw_together(north: Hospital) -> None:
    """Catches a budget that is read, and then written, in two transactions."""
    rounds = north.ledger().rounds_left(PLAN, TIGHT)
    racers = [agent(north, "never", rounds + 1, campaign) for campaign in ("spring", "autumn")]
    for racer in racers:
        racer.communicate(timeout=120)
    events = north.ledger().summary().events
    assert len(events) == rounds
    assert accounting.epsilon(events, TIGHT.delta) <= BUDGET


def test_the_budget_holds_over_restarts(north: Hospital) -> None:
    """Catches a budget that begins anew with the process."""
    rounds = north.ledger().rounds_left(PLAN, TIGHT)
    process = agent(north, "never", rounds)
    out, _ = process.communicate(timeout=120)
    assert out.split()[-2:] == ["spent", str(rounds)]
    with pytest.raises(BudgetError):
        north.ledger().reserve(round_of(rounds + 1), TIGHT, canonical.digest(b"code"))
