"""The roll: which enrolled hospitals are connected now, and what each says of itself.

A node is known by the public key under which Flower authenticated it, and by nothing that it says. The
description that its agent gives must agree with the enrolment. (Flower's simulation engine authenticates no
one: there, and only there, a node is who it says.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

from privacy import succession
from privacy.description import Description
from privacy.errors import WireError
from server.clock import Clock
from server.errors import RoundFailed
from server.exchange import exchange, word
from server.records import Hospital
from server.store import Store
from strategies.flower import read_reply

DESCRIBE_S = 60.0
LATECOMERS_S = 30.0  # how long the first round waits for those over the quorum
_POLL_S = 1.0


class Roll:
    """Calls the roll for one run of a campaign; each node describes itself once."""

    def __init__(self, grid: Grid, store: Store, clock: Clock) -> None:
        self._grid = grid
        self._store = store
        self._clock = clock
        self._successions = store.successions()  # no key is rotated while a campaign runs
        self._met: dict[int, str] = {}
        self._patience = LATECOMERS_S
        self.absent: dict[str, str] = {}  # why a connected hospital does not count: a code

    def gather(
        self,
        *,
        evaluators: bool,
        least: int,
        seconds: float,
        trusted: frozenset[str] | None = None,
        members: frozenset[str] | None = None,
    ) -> dict[int, str]:
        """Wait for `least` hospitals (or evaluators), and in the run's first round a little longer for the
        others.

        `trusted` are the code hashes of the installations that count, `members` the names of those that take part (None
        for any).
        Returns names by node id. Raises `RoundFailed`, naming who is not there, when `seconds` have passed.
        """
        wanted = {
            name: hospital
            for name, hospital in self._store.hospitals().items()
            if hospital.evaluator == evaluators and (members is None or name in members)
        }
        begun = self._clock.monotonic()
        while True:
            here = self._here(wanted, trusted)
            waited = self._clock.monotonic() - begun
            if len(here) == len(wanted) or (len(here) >= least and waited >= self._patience):
                self._patience = self._patience if evaluators else 0.0
                return here
            if waited >= seconds:
                raise RoundFailed(self._who_is_missing(wanted, here, least))
            self._clock.sleep(_POLL_S)

    def here(self) -> dict[int, str]:
        """All that this run has met and that are connected now, by node id."""
        connected = {node.node_id for node in self._grid.get_nodes()}
        return {node: name for node, name in self._met.items() if node in connected}

    def _here(self, wanted: Mapping[str, Hospital], trusted: frozenset[str] | None) -> dict[int, str]:
        connected = self._identified(wanted)
        strangers = {node: name for node, name in connected.items() if node not in self._met}
        self._meet(strangers, wanted, trusted)
        return {node: name for node, name in connected.items() if node in self._met}

    def _identified(self, wanted: Mapping[str, Hospital]) -> dict[int, str]:
        """Those of the wanted that are connected: the name under whose key each node was authenticated."""
        by_key = {hospital.supernode_key: name for name, hospital in wanted.items()}
        nodes = {node.node_id: by_key.get(bytes(node.public_key)) for node in self._grid.get_nodes()}
        return {node: name for node, name in nodes.items() if name is not None}

    def _meet(
        self, strangers: Mapping[int, str], wanted: Mapping[str, Hospital], trusted: frozenset[str] | None
    ) -> None:
        """Ask each node that this run has not met to describe itself."""
        names = set(strangers.values())
        self.absent = {name: why for name, why in self.absent.items() if name not in names}
        silent = dict(strangers)
        for reply in self._ask_to_describe(strangers):
            node = reply.metadata.src_node_id
            name = silent.pop(node, None)
            if name is None:
                continue
            why = self._judge(wanted[name], read_reply(reply, "describe"), trusted)
            if why is None:
                self._met[node] = name
            else:
                self.absent[name] = why
        self.absent |= dict.fromkeys(silent.values(), "no-answer")

    def _ask_to_describe(self, nodes: Iterable[int]) -> Iterator[Message]:
        content = RecordDict({"describe": ConfigRecord()})
        if self._successions:  # before anything that the new key signed
            content[succession.METHOD] = ConfigRecord(
                {succession.PART: succession.to_bytes(self._successions)}
            )
        messages = [Message(content, node, MessageType.QUERY) for node in nodes]
        return exchange(self._grid, messages, DESCRIBE_S, self._clock)

    def _judge(
        self, hospital: Hospital, parts: Mapping[str, bytes], trusted: frozenset[str] | None
    ) -> str | None:
        """Keep a good description and return None; else say in a word what is wrong."""
        if "description" not in parts:
            return word(parts.get("code", b"bad-reply"))
        try:
            said = Description.from_bytes(parts["description"])
        except WireError:
            return "bad-description"
        if said.hospital != hospital.name:
            return "other-name"
        if said.public_data != hospital.evaluator:
            return "not-an-evaluator" if hospital.evaluator else "data-declared-public"
        self._store.described(hospital.name, said)
        return None if trusted is None or said.code_hash in trusted else "code-not-trusted"

    def _who_is_missing(self, wanted: Mapping[str, Hospital], here: Mapping[int, str], least: int) -> str:
        missing = sorted(set(wanted) - set(here.values()))
        reasons = ", ".join(f"{name} ({self.absent.get(name, 'not connected')})" for name in missing)
        return (
            f"{len(here)} of at least {least} are here; missing: {reasons}. Start their courier and agent "
            "(`fedpath-hospital courier`, `fedpath-hospital agent`), then run the campaign again: it goes on"
        )


class SimulatedRoll(Roll):
    """The roll among the nodes of Flower's simulation engine: it makes up their keys, so each says who it
    is.
    """

    def __init__(self, grid: Grid, store: Store, clock: Clock) -> None:
        super().__init__(grid, store, clock)
        self._said: dict[int, str] = {}

    def _identified(self, wanted: Mapping[str, Hospital]) -> dict[int, str]:
        """Those of the wanted that a node says it is; one that has answered is not asked again."""
        silent = [node.node_id for node in self._grid.get_nodes() if node.node_id not in self._said]
        for reply in self._ask_to_describe(silent):
            try:
                said = Description.from_bytes(read_reply(reply, "describe").get("description", b""))
            except WireError:
                continue
            self._said[reply.metadata.src_node_id] = said.hospital
        return {node: name for node, name in self._said.items() if name in wanted}


def roll_of(grid: Grid, store: Store, clock: Clock) -> Roll:
    """The roll that suits the grid."""
    return (SimulatedRoll if isinstance(grid, InMemoryGrid) else Roll)(grid, store, clock)
