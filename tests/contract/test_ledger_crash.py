"""A hospital's process killed at every point between two writes: never an under-count, a lost or a doubled spend."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from privacy import accounting, keys
from privacy.errors import LedgerError
from privacy.ledger import answering
from privacy.ledger.entries import Kind
from tests.contract.nursery import nursery
from tests.contract.postgresql import Server
from tests.privacy_cases import CODE, PLAN, POLICY, Hospital, hospital, round_of

Run = Callable[[Hospital, int], list[str]]

# Every entry's every writing, and what stands around it.
POINTS = {
    *(
        f"{when} INSERT entries {kind}"
        for when in ("before", "after")
        for kind in (
            Kind.POLICY,
            Kind.RESERVATION,
            Kind.SPEND,
            Kind.VOID,
            Kind.RELEASE,
            Kind.RECEIPT,
            Kind.WITHDRAWAL,
        )
    ),
    "before INSERT outbox",
    "after INSERT outbox",
    "before CREATE entries",
    "after CREATE outbox",
    "before commit",
    "after commit",
}


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Ask the nursery for one life that ends at a point (0: at none); what it said."""
    with nursery("tests.contract.crash_child") as ask:
        yield lambda home, last: ask({"folder": str(home.folder), "url": home.url, "last": last})


@pytest.fixture(params=["sqlite", "postgresql"])
def homes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Hospital]]:
    """Make hospitals, each with an empty ledger."""
    server: Server | None = request.getfixturevalue("server") if request.param == "postgresql" else None
    made: list[str] = []

    def make() -> Hospital:
        folder = tmp_path / f"home-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        keys.generate(folder / "coordinator.key")
        url = None
        if server is not None:
            made.append(f"crash-{os.getpid()}-{folder.name}")
            url = server.create(made[-1])
        return hospital(folder, url)

    yield make
    for name in made:
        assert server is not None
        server.drop(name)


def told(said: list[str], word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in said if line.startswith(f"{word} ")]


def check_nothing_undercounted(home: Hospital, said: list[str]) -> None:
    """All that a life said it had done is on record."""
    ledger = home.ledger()
    ledger.verify(home.key.public)
    charged = Counter(e.body["round"] for e in ledger.entries() if e.kind == Kind.RESERVATION)
    for number, times in Counter(map(int, told(said, "reserved"))).items():
        assert charged[number] >= times
    summary = ledger.summary()
    assert len(summary.events) >= len(told(said, "reserved"))
    for number in map(int, told(said, "spent")):
        assert ledger.sent("spring", number, round_of(number).hash) is not None
    left = {record.sha256 for _, record in ledger.egress()}
    for line in told(said, "sent"):
        assert set(line.split()[1:]) <= left


def check_all_done_once(home: Hospital, said: list[str]) -> None:
    """Two rounds: each spent once, always with the same bytes, acknowledged, nothing held back."""
    ledger = home.ledger()
    summary = ledger.summary()
    assert (summary.spent, summary.reserved, summary.receipts, summary.withdrawn) == (2, 0, 2, 1)
    reserved = sum(entry.kind == Kind.RESERVATION for entry in ledger.entries())
    assert summary.events == (PLAN.event(),) * reserved  # voided ones stay charged
    for number in (1, 2):
        releases = ledger.sent("spring", number, round_of(number).hash)
        assert releases is not None
        digests = [accounted for _, accounted in sorted(_spent(home, number).items())]
        sent = {line for line in told(said, "sent") if line.startswith(f"{number} ")}
        assert sent == {" ".join([str(number), *digests])}
    assert ledger.epsilon(POLICY.delta) == pytest.approx(
        accounting.epsilon([PLAN.event()] * reserved, POLICY.delta), abs=1e-3
    )


def _spent(home: Hospital, number: int) -> dict[str, str]:
    entries = home.ledger().entries()
    paid = {e.hash for e in entries if e.kind == Kind.RESERVATION and e.body["round"] == number}
    (spend,) = [e for e in entries if e.kind == Kind.SPEND and e.body["reservation"] in paid]
    return {expert: part["sha256"] for expert, part in spend.body["releases"].items()}


PARTS = 4  # of the table, so that no test is long; two of them nightly


def test_the_table_has_every_write(homes: Callable[[], Hospital], run: Run) -> None:
    """Catches a write that the table below never meets."""
    home = homes()
    said = run(home, 0)
    assert said[-1] == "lived"
    check_all_done_once(home, said)
    assert set(told(said, "at")) >= POINTS, POINTS - set(told(said, "at"))


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.nightly) for n in (1, 2, 3))])
def test_killed_at_every_point_between_two_writes(homes: Callable[[], Hospital], run: Run, part: int) -> None:
    """Catches a reservation, spend, void, release or receipt that is half there, lost, or there twice.

    At each point the process is killed, what it had said is compared with what is on record, and a new process
    takes up the work and does it all.
    """
    point = part + 1
    while (said := run(home := homes(), point))[-1] == "killed":
        where = told(said, "at")[-1]
        check_nothing_undercounted(home, said)
        again = run(home, 0)
        assert again[-1] == "lived", (where, again)
        check_all_done_once(home, said + again)
        point += PARTS
    assert said[-1] == "lived"
    assert point > 40


def test_killed_again_and_again(homes: Callable[[], Hospital], run: Run) -> None:
    """Catches a recovery that itself may not be cut short."""
    home, said, lives = homes(), list[str](), 0
    while not said or said[-1] != "lived":
        lives += 1
        life = run(home, 4 + 7 * lives % 23)  # every length from too short for anything to just long enough
        check_nothing_undercounted(home, life)
        said += life
        assert lives < 60
    assert lives > 3
    check_all_done_once(home, said)


def test_a_database_server_that_dies_loses_nothing_that_was_told(server: Server, tmp_path: Path) -> None:
    """Catches a server's default of asynchronous commits, under which a spend is told before it is durable."""
    name = f"power-{os.getpid()}"
    home = hospital(tmp_path, server.create(name))
    with server.connect() as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit TO off')
    ledger = home.ledger()
    for number in (1, 2, 3):
        ledger.spend(ledger.reserve(round_of(number), POLICY, CODE), {"scale/roi": b"%d" % number})
        server.crash()
        assert ledger.sent("spring", number, round_of(number).hash) == {"scale/roi": b"%d" % number}
    server.drop(name)


def test_a_database_server_that_hangs_is_given_up_and_nothing_is_undercounted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an agent that waits for ever, and a reservation that was refused, made all the same, and is not charged."""
    monkeypatch.setattr(answering, "ANSWER_SECONDS", 1.0)
    name = f"hung-{os.getpid()}"
    ledger = hospital(tmp_path, server.create(name)).ledger()
    server.hang()
    try:
        with pytest.raises(LedgerError, match="check that the server runs"):
            ledger.reserve(round_of(1), POLICY, CODE)
    finally:
        server.wake()
    ledger.spend(ledger.reserve(round_of(1), POLICY, CODE), {"scale/roi": b"1"})
    assert ledger.sent("spring", 1, round_of(1).hash) == {"scale/roi": b"1"}
    server.drop(name)
