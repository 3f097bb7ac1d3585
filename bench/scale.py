"""What a thousand hospitals cost the consortium: a whole campaign through the real server, with simulated hospitals.

    python -m bench.scale [--json] [--quick]

Enrolment, an SFT round of two experts, a GRPO round of four, all receipts; from 50 to 1,000 hospitals, each number in a
process of its own. Server, store, journal, checks and aggregation are the real ones, and so are the hospitals' keys, ledgers,
reservations and sealed releases (`tests.federation.simulator`); their changes are the noise of the plan's mechanism and
nothing else. Fifty hospitals have ledgers of their own; where there are more, the others' rounds are reserved once, in a ledger
that they share, as a thousand ledgers would take nearly all of the time. A hospital is woken for each message and put away
after it, so memory and seconds without theirs are the consortium's; CPU seconds beside them tell work from waiting for the
disk. Hospitals' folders lie in /dev/shm where there is one: their disks are not the consortium's, whose folder lies where
temporary files do (`TMPDIR`).
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

from flwr.app import Message
from flwr.proto.node_pb2 import NodeInfo

from bench import command
from privacy import canonical
from privacy.keys import PublicKey
from privacy.ledger.account import Reservation
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.receipt import Receipt
from privacy.release import seal
from server import rounds
from server.campaign import Campaign
from server.home import Home
from server.records import Hospital
from server.roll import Roll
from server.rounds import Federation
from server.runner import run_campaign
from server.status import status
from server.store import Store
from strategies import intake
from strategies.definition import Stage
from tests.federation.simulator import (
    BASE,
    CODE,
    SimulatedClock,
    SimulatedGrid,
    SimulatedHospital,
    carried,
    initial,
    noise_deltas,
    policy,
)

SIZES = (50, 100, 200, 500, 1000)
QUICK = (10, 20, 50)
SHAPES = {f"layer{index}.lora_B": (256, 8) for index in range(4)}  # 8,192 values
LEDGERS = 50  # hospitals with ledgers of their own
MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sampling_rate=0.1, steps=1, samples_per_patient=4)
STAGES = (
    Stage("sft", 1, ("scale/roi", "scale/wsi"), 0.01, MECHANISM),
    Stage(
        "grpo",
        1,
        ("task/classification", "task/detection", "task/segmentation", "task/vqa"),
        0.01,
        MECHANISM,
        rollouts=4,
        max_answer_tokens=32,
    ),
)
ROUNDS = sum(stage.rounds for stage in STAGES)
MEMORY = Path("/dev/shm")  # a folder of our own is made in it
# By name, the functions whose seconds are told apart.
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "gather": ((Roll, "gather"),),
    "note who was asked and answered": ((Store, "asked"), (Store, "answered"), (Store, "delivered")),
    "check releases": ((intake, "check"),),
    "put releases aside": ((Store, "put_aside"),),
    "aggregate": ((intake.Intake, "aggregated"),),
    "write receipts": ((rounds, "write_receipts"),),
    "commit": ((Store, "commit_round"),),
}


class PassingClock(SimulatedClock):
    """Real time, but for what someone slept through."""

    def now(self) -> datetime:
        """The time of day."""
        return datetime.now(UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """For durations."""
        return time.monotonic() + self.seconds


@dataclass(frozen=True)
class Resting:
    """A hospital that holds nothing in memory but where it lies; it wakes for one message at a time."""

    name: str
    folder: Path
    supernode_key: bytes
    coordinator: PublicKey
    own_ledger: bool

    def answer(self, message: Message) -> Message:
        """Wake, answer, rest."""
        kind = SimulatedHospital if self.own_ledger else Sharing
        awake = kind(self.name, self.folder, policy(self.name), shapes=SHAPES)
        awake.coordinator = self.coordinator
        return carried(awake, message)


class Sharing(SimulatedHospital):
    """A hospital whose rounds were reserved, once for all such hospitals, in the ledger beside their folders."""

    reserved: ClassVar[dict[str, Reservation]] = {}

    def _train(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        assert self.coordinator is not None
        plan = Plan.open(parts["plan"], parts["signature"], self.coordinator)
        if plan.hash not in self.reserved:
            folder = self.folder.parent / "shared"
            shared = SimulatedHospital("shared", folder, policy("shared"))
            self.reserved[plan.hash] = shared.ledger.reserve(plan, shared.policy, CODE)
        paid = self.reserved[plan.hash]
        deltas = noise_deltas(plan, plan.restricted(self.policy.experts), self.shapes)
        return {f"release/{e}": seal(delta, paid, plan, self.name, self.key) for e, delta in deltas.items()}

    def _receipt(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        assert self.coordinator is not None
        Receipt.open(parts["receipt"], self.coordinator)
        return {}


class RestingGrid(SimulatedGrid):
    """Hospitals that answer when their reply is pulled, so that no reply waits in memory; `seconds` are theirs."""

    def __init__(self, hospitals: Iterable[Resting], clock: SimulatedClock) -> None:
        super().__init__((), clock)
        self.resting = {101 + index: hospital for index, hospital in enumerate(hospitals)}
        self.seconds = self.cpu_seconds = 0.0
        self._asked: dict[str, Message] = {}

    def get_nodes(self) -> Iterable[NodeInfo]:
        """All are connected."""
        return [NodeInfo(node_id=node, public_key=h.supernode_key) for node, h in self.resting.items()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Keep them."""
        pushed = {self._name(message): message for message in messages}
        self._asked |= pushed
        return list(pushed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Have those that were asked answer now."""
        begun, cpu = time.perf_counter(), time.process_time()
        asked = [self._asked.pop(name) for name in message_ids if name in self._asked]
        replies = [self.resting[message.metadata.dst_node_id].answer(message) for message in asked]
        self.seconds += time.perf_counter() - begun
        self.cpu_seconds += time.process_time() - cpu
        return replies


def measure(hospitals: int) -> dict[str, float]:
    """One campaign with so many hospitals, in this process: seconds, peak memory and sizes on disk."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wards = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
            )
        )
        home, clock = Home.create(place / "home", "consortium", "127.0.0.1", 19092), PassingClock()
        store = home.store(clock.now)
        resting = [prepare(home, wards, number) for number in range(hospitals)]
        enrolling = _seconds(lambda: [store.enrol(hospital) for hospital, _ in resting])
        grid, before = RestingGrid([each for _, each in resting], clock), _peak()
        parts = told_apart(grid)
        house = Federation(grid, store, home.coordinator(), clock, Roll(grid, store, clock))
        cpu = -time.process_time()
        whole = _seconds(lambda: run_campaign(house, campaign(hospitals), initial(SHAPES), "1"))
        cpu += time.process_time() - grid.cpu_seconds
        server = whole - grid.seconds
        return {
            "server_ms_a_hospital_and_round": 1000 * server / hospitals / ROUNDS,
            "server_cpu_ms_a_hospital_and_round": 1000 * cpu / hospitals / ROUNDS,
            "server_s_a_round": server / ROUNDS,
            "hospitals_s_a_round": grid.seconds / ROUNDS,
            "enrolling_ms_a_hospital": 1000 * enrolling / hospitals,
            "peak_mib": _peak(),
            "peak_before_the_campaign_mib": before,
            **read_again(home),
            **{
                f"ms: {name}": 1000 * seconds / hospitals / ROUNDS
                for name, seconds in {**parts, "all else": server - sum(parts.values())}.items()
            },
        }


def prepare(home: Home, folder: Path, number: int) -> tuple[Hospital, Resting]:
    """A new hospital: its request, and itself."""
    name = f"h{number:04}"
    made = SimulatedHospital(name, folder / name, policy(name), shapes=SHAPES)
    asked = Hospital(name, made.key.public, made.supernode_key, evaluator=False)
    return asked, Resting(name, made.folder, made.supernode_key, home.coordinator().public, number < LEDGERS)


def campaign(hospitals: int) -> Campaign:
    """All hospitals must answer."""
    return Campaign("wide", 7, BASE, 8, 16.0, "experts", hospitals, 3600.0, "never", STAGES)


def told_apart(grid: RestingGrid) -> dict[str, float]:
    """Have the functions of PARTS timed from now on; seconds by part, those of the hospitals taken off."""
    found = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            begun, theirs = time.perf_counter(), grid.seconds
            try:
                return function(*given, **named)
            finally:
                found[part] += time.perf_counter() - begun - (grid.seconds - theirs)

        return call

    for part, functions in PARTS.items():
        for owner, name in functions:
            setattr(owner, name, timed(part, getattr(owner, name)))
    return found


def read_again(home: Home) -> dict[str, float]:
    """What is on disk, and how long another process takes to open it and to tell of it."""
    opening = _seconds(home.store)
    telling = _seconds(lambda: status(home))
    entries = home.store().journal()
    sizes = [len(canonical.encode(entry.body)) for entry in entries]
    return {
        "open_and_verify_s": opening,
        "status_s": telling - opening,
        "journal_entries": len(entries),
        "journal_mib": sum(sizes) / 2**20,
        "largest_entry_kib": max(sizes) / 1024,
        "database_mib": sum(file.stat().st_size for file in home.folder.glob("consortium.db*")) / 2**20,
    }


def main() -> None:
    """Command line."""
    parser = command.options(__doc__, quick=f"{', '.join(map(str, QUICK))} hospitals")
    parser.add_argument("--hospitals", type=int, nargs="+", help="other numbers of hospitals")
    asked = parser.parse_args()
    found = {}
    for size in asked.hospitals or (QUICK if asked.quick else SIZES):
        command.measuring(f"{size} hospitals")
        with ProcessPoolExecutor(1, get_context("spawn")) as process:  # so that peaks are each number's own
            found[f"{size} hospitals"] = process.submit(measure, size).result()
        if not asked.json:
            command.show(
                {f"{size} hospitals": found[f"{size} hospitals"]}, False, lambda value: f"{value:,.2f}"
            )
    if asked.json:
        command.show(found, True)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _peak() -> float:
    """Of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
