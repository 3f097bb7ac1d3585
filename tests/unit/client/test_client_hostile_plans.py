"""What a malicious coordinator may sign and ask: each is refused by its code, which the ledger's record of replies holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from client.agent import Agent
from privacy import canonical, keys, tensors
from privacy.codes import Refusal
from privacy.evaluation import Evaluation
from privacy.experts import same_form
from privacy.ledger.entries import Kind
from tests.unit.client.conftest import MECHANISM, SFT, House, ask


@dataclass(frozen=True)
class Case:
    """What is asked, the code that answers it, and whether it is a plan that was read and judged: such a refusal is an
    entry of its own.
    """

    name: str
    request: Callable[[House], dict[str, bytes]]
    code: Refusal
    judged: bool = True
    method: str = "train"

    def __str__(self) -> str:
        return self.name


def _mechanism(place: House, **changes: object) -> dict[str, bytes]:
    return place.request(place.plan(mechanism=replace(MECHANISM, **changes)))  # type: ignore[arg-type]


def _unknown_expert(place: House) -> dict[str, bytes]:
    fields = canonical.decode(place.plan().to_bytes(), 1 << 20)
    assert isinstance(fields, dict)
    data = canonical.encode({**fields, "experts": ["scale/cell", "scale/wsi"]})
    request = place.request(place.plan())
    return request | {"plan": data, "signature": place.coordinator.sign(data, keys.Purpose.PLAN)}


def _metrics(place: House) -> dict[str, bytes]:
    hashes = {name: tensors.digest(place.states[name]) for name in SFT}
    asked = Evaluation("sft", place.base_hash, hashes, same_form(SFT, 2, 4.0), 3)
    return {"request": asked.to_bytes()} | {f"expert/{name}": place.states[name] for name in SFT}


CASES = (
    Case("no noise", lambda p: _mechanism(p, noise_multiplier=0.0), Refusal.POLICY_NOISE),
    Case("every patient in every step", lambda p: _mechanism(p, sampling_rate=1.0), Refusal.POLICY_SAMPLING),
    Case("a million steps", lambda p: _mechanism(p, steps=1_000_000), Refusal.POLICY_STEPS),
    Case("an unknown expert", _unknown_expert, Refusal.PLAN_INVALID, judged=False),
    Case("another base", lambda p: p.request(p.plan(base_hash="0" * 64)), Refusal.BASE_MISMATCH),
    Case("metrics of patients", _metrics, Refusal.NOT_OFFERED, judged=False, method="evaluate"),
)


@pytest.fixture(scope="module")
def shared(shared_house: Callable[..., House]) -> tuple[House, Agent]:
    """One agent for all the refusals: none of them may change it."""
    place = shared_house()
    return place, place.agent()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_malicious_coordinator_gets_a_code_and_the_ledger_keeps_it(
    case: Case, shared: tuple[House, Agent]
) -> None:
    """Catches a plan that is trained though no policy could allow it, a charge for a refusal, and one that leaves no trace."""
    place, agent = shared
    before = len(place.ledger().entries())
    assert ask(agent, case.method, case.request(place)) == {"code": case.code.encode()}
    ledger = place.ledger()
    _, left = list(ledger.egress())[-1]
    assert (left.name, left.sha256) == ("code", canonical.digest(case.code.encode()))
    fresh = [entry for entry in ledger.entries()[before:] if entry.kind == Kind.REFUSAL]
    assert [entry.body["code"] for entry in fresh] == ([str(case.code)] if case.judged else [])
    summary = ledger.summary()
    assert (summary.spent, summary.reserved, summary.events) == (0, 0, ())


def test_a_replayed_plan_is_answered_with_what_was_paid_for(house: Callable[..., House]) -> None:
    """Catches a second draw over the patients, or a second charge, for a plan that is played back after later rounds."""
    place = house()
    agent = place.agent()
    first = ask(agent, "train", place.request(place.plan(1)))
    ask(agent, "train", place.request(place.plan(2)))
    charged = place.ledger().summary().events
    assert ask(agent, "train", place.request(place.plan(1))) == first
    assert place.ledger().summary().events == charged
