"""Receipts: signed word to each hospital of what became of its releases, or of its masked sum."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from privacy.codes import Refusal, ReleaseFault
from privacy.keys import PrivateKey
from privacy.plan import Plan
from privacy.receipt import ACCEPTED, ACKNOWLEDGED, Receipt
from server.clock import Clock
from server.exchange import exchange
from server.records import Owed
from server.roll import Roll
from server.store import Store
from strategies.flower import read_reply
from strategies.intake import Verdict

METHOD = "receipt"
DELIVERY_S = 60.0


def write_receipts(plan: Plan, verdicts: Sequence[Verdict], key: PrivateKey) -> dict[str, bytes]:
    """A receipt for each hospital that sent a release of an expert that there is, accepted or refused; or whose masked
    sum was added up.
    """
    by_hospital: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.expert in ACKNOWLEDGED:
            by_hospital.setdefault(verdict.hospital, []).append(verdict)
    return {name: _receipt(name, plan, found).sign(key) for name, found in by_hospital.items()}


def note_delivery(store: Store, reply: Message, sent: Owed | None) -> None:
    """Note what a hospital answered to the receipt `sent`: kept, or refused; anything else leaves it owed."""
    if sent is None or reply.has_error() or METHOD not in reply.content.config_records:
        return
    code = read_reply(reply, METHOD).get("code")
    if code is None:
        store.delivered(sent, "kept")
    elif code == Refusal.BAD_REQUEST.encode():  # its ledger says otherwise, and will again
        store.delivered(sent, "refused")


def enclosed(owed: Owed | None) -> dict[str, ConfigRecord]:
    """The record that goes with another request, and is answered before it; none where nothing is owed."""
    return {} if owed is None else {METHOD: ConfigRecord({METHOD: owed.data})}


def deliver(grid: Grid, store: Store, roll: Roll, clock: Clock) -> None:
    """Bring all that is still owed to the hospitals that are here; what can't be brought stays owed."""
    before: dict[str, Owed] = {}
    while (owed := store.owed()) != before:  # one each at a time, oldest first, as long as some are taken
        before = owed
        here = {node: owed[name] for node, name in roll.here().items() if name in owed}
        messages = [
            Message(RecordDict({**enclosed(sent)}), node, MessageType.QUERY) for node, sent in here.items()
        ]
        for reply in exchange(grid, messages, DELIVERY_S, clock):
            note_delivery(store, reply, here.get(reply.metadata.src_node_id))


def _receipt(hospital: str, plan: Plan, verdicts: Sequence[Verdict]) -> Receipt:
    return Receipt(
        hospital=hospital,
        campaign=plan.campaign,
        round=plan.round,
        plan_hash=plan.hash,
        releases={str(v.expert): v.digest for v in verdicts},
        outcomes={str(v.expert): _outcome(v.fault) for v in verdicts},
        reservation=next((v.reservation for v in verdicts if v.fault is None), None),
    )


def _outcome(fault: str | None) -> str:
    if fault is None:
        return ACCEPTED
    return fault if fault in set(ReleaseFault) else ReleaseFault.NOT_A_RELEASE
