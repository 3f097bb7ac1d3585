"""One round's strategy: what it sends to whom, and its verdict on every kind of reply."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from privacy import tensors
from privacy.codes import ReleaseFault
from strategies.aggregate import NORM_BOUND, Recipe
from strategies.flower import FedPathStrategy, RoundTask, read_reply
from strategies.intake import Verdict
from strategies.weighting import NOISE_MATCHED, Weighting
from tests.privacy_cases import PLAN, SHAPES, Hospital, hospital

STATES = {e: tensors.encode({n: np.zeros(s, np.float32) for n, s in t.items()}) for e, t in SHAPES.items()}


@pytest.fixture
def north(tmp_path: Path) -> Hospital:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    return hospital(tmp_path)


def task(north: Hospital) -> RoundTask:
    receipts = {"north": b"a receipt"}
    names = {7: "north", 8: "south"}
    keyring = dict.fromkeys(names.values(), (north.key.public,))
    return RoundTask(PLAN, b"signature", STATES, names, keyring, receipts)


def strategy_of(north: Hospital, recipe: Recipe = Recipe(), **changes: object) -> FedPathStrategy:  # noqa: B008 - frozen
    """A round under one recipe; accepted releases are put beside the hospital's ledger."""

    def keep(data: bytes) -> Path:
        path = north.folder / tensors.digest(data)
        path.write_bytes(data)
        return path

    asked = replace(task(north), **changes)  # type: ignore[arg-type]
    return FedPathStrategy(asked, dict.fromkeys(PLAN.experts, recipe), keep)


def reply(node: int, parts: dict[str, bytes], method: str = "train") -> Message:
    """A node's reply, as it comes out of Flower."""
    asked = Message(RecordDict(), node, MessageType.TRAIN)
    asked.metadata.__dict__["_message_id"] = f"{node}"
    record = ConfigRecord()
    for name, value in parts.items():
        record[name] = value
    return Message(RecordDict({method: record}), reply_to=asked)


def run(strategy: FedPathStrategy, *replies: Message) -> list[Verdict]:
    strategy.aggregate_train(1, iter(replies))
    return strategy.outcome.verdicts


def test_sends_plan_experts_and_an_owed_receipt_to_each_enrolled_node(north: Hospital) -> None:
    """Catches a hospital that gets another plan or another's receipt."""
    strategy = strategy_of(north)
    sent = {
        m.metadata.dst_node_id: m for m in strategy.configure_train(1, ArrayRecord(), ConfigRecord(), None)
    }  # type: ignore[arg-type]
    assert set(sent) == {7, 8}
    for message in sent.values():
        record = message.content.config_records["train"]
        assert record["plan"] == PLAN.to_bytes()
        assert {name for name in record if name.startswith("expert/")} == {f"expert/{e}" for e in SHAPES}
    assert sent[7].content.config_records["receipt"]["receipt"] == b"a receipt"
    assert "receipt" not in sent[8].content.config_records


def test_adds_good_releases_and_leaves_a_silent_expert_alone(north: Hospital) -> None:
    """Catches a release that is not added, or added to another expert."""
    strategy = strategy_of(north)
    sealed = north.releases()
    verdicts = run(strategy, reply(7, {"release/scale/roi": sealed["scale/roi"]}))
    assert [(v.hospital, v.expert, v.fault) for v in verdicts] == [("north", "scale/roi", None)]
    assert set(strategy.outcome.experts) == {"scale/roi"}
    assert strategy.outcome.experts["scale/roi"].state != STATES["scale/roi"]
    assert strategy.outcome.experts["scale/roi"].report["hospitals"] == ["north"]


@pytest.mark.parametrize(
    ("node", "name", "spoil", "fault"),
    [
        (8, "release/scale/roi", "", ReleaseFault.UNKNOWN_HOSPITAL),
        (7, "release/scale/wsi", "", ReleaseFault.UNKNOWN_EXPERT),
        (7, "release/task/vqa", "", ReleaseFault.UNKNOWN_EXPERT),
        (7, "release/scale/roi", "flip", ReleaseFault.BAD_SIGNATURE),
        (7, "release/scale/roi", "long", ReleaseFault.TOO_LARGE),
        (7, "release/scale/roi", "empty", ReleaseFault.NOT_A_RELEASE),
    ],
    ids=["in another's name", "as another expert", "an expert not trained", "forged", "oversized", "empty"],
)
def test_bad_releases_are_refused_by_name(
    north: Hospital, node: int, name: str, spoil: str, fault: ReleaseFault
) -> None:
    """Catches any of these being added, or stopping the round."""
    data = north.releases()["scale/roi"]
    data = {"": data, "flip": data[:-1] + bytes([data[-1] ^ 1]), "long": data + bytes(1 << 20), "empty": b""}[
        spoil
    ]
    strategy = strategy_of(north)
    verdicts = run(strategy, reply(node, {name: data}))
    assert [v.fault for v in verdicts] == [fault]
    assert strategy.outcome.experts == {}


def test_only_a_nodes_first_answer_counts_and_strangers_never(north: Hospital) -> None:
    """Catches a release that is counted twice: duplicated replies would double a hospital's weight."""
    strategy = strategy_of(north)
    good = {"release/scale/roi": north.releases()["scale/roi"]}
    verdicts = run(strategy, reply(7, good), reply(7, good), reply(99, good))
    assert len(verdicts) == 1
    assert strategy.outcome.experts["scale/roi"].report["hospitals"] == ["north"]


def test_codes_and_failures_become_words(north: Hospital) -> None:
    """Catches hostile text from a hospital reaching a log unharmed, and a failed reply that raises."""
    strategy = strategy_of(north)
    broken = Message(Error(code=3, reason="x"), reply_to=reply(8, {}))
    verdicts = run(strategy, reply(7, {"code": b"\x1b[2J" + b"A" * 100}), broken)
    assert verdicts[0].fault is not None
    assert set(verdicts[0].fault) <= set("?2JA-")
    assert len(verdicts[0].fault) <= 40
    assert read_reply(broken, "train") == {"code": b"flower-3"}
    odd = Message(RecordDict({"train": ConfigRecord({"release/scale/roi": 3})}), reply_to=reply(7, {}))
    assert read_reply(odd, "train") == {"code": b"bad-reply"}


@pytest.mark.parametrize(
    ("patients", "fault"),
    [({}, None), ({"north": 1000}, None), ({"north": 100_000}, ReleaseFault.WRONG_NOISE)],
)
def test_noise_is_stated_for_the_patients_agreed_upon(
    north: Hospital, patients: dict[str, int], fault: ReleaseFault | None
) -> None:
    """Catches a hospital that states less noise than it adds, to gain weight: its step's noise is that of 1000 patients."""
    strategy = strategy_of(north, Recipe(weighting=Weighting(NOISE_MATCHED)), patients=patients)
    (verdict,) = run(strategy, reply(7, {"release/scale/roi": north.releases()["scale/roi"]}))
    assert verdict.fault == fault


def test_a_change_without_its_noise_is_refused_under_the_norm_bound(north: Hospital) -> None:
    """Catches a free rider, validly sealed: under a plan of a hundred times the rate, its change is a hundredth of noise."""
    plan = replace(PLAN, learning_rate=1.0)
    data = north.releases(plan)["scale/roi"]
    for recipe, fault in ((Recipe(), None), (Recipe(rule=NORM_BOUND), ReleaseFault.NORM_TOO_SMALL)):
        (verdict,) = run(strategy_of(north, recipe, plan=plan), reply(7, {"release/scale/roi": data}))
        assert verdict.fault == fault
