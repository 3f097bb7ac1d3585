"""The agent asked for noised counts, and the agent whose code failed its self-test: what leaves, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from client import paid_work
from client.agent import Agent
from client.check import findings
from client.key_rotation import rotate_key
from client.selftest_word import NEVER
from client.tasks.sample import Sample
from client.withdrawn import add_withdrawn
from privacy import accounting, keys
from privacy.code_hash import code_hash
from privacy.codes import Refusal
from privacy.evaluation import NoisedEvaluation
from privacy.noised_counts import NoisedCounts
from privacy.randomness import SeededRandom
from privacy.sealed_counts import CountsExpectation, SealedCounts, open_counts
from tests.unit.client.conftest import House, ask, spoilt

MakeHouse = Callable[..., House]


def code(reply: dict[str, bytes]) -> str:
    assert set(reply) == {"code"}
    return reply["code"].decode()


def opened(place: House, reply: dict[str, bytes], asked: NoisedEvaluation) -> SealedCounts:
    key = keys.load(place.home.release_key).public
    return open_counts(reply["counts"], CountsExpectation(asked, {"north": key}))


def test_counts_are_paid_once_and_sent_again_as_they_were(house: MakeHouse) -> None:
    """Catches counts that are drawn anew, or charged again, when asked again: after a restart and a new key too; and
    an evaluation that collides with the round before it.
    """
    place = house(noised=2.0)
    asked = place.evaluation()
    agent = place.agent()
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))
    first = ask(agent, "evaluate_noised", place.evaluation_request(asked))
    counts = opened(place, first, asked)
    assert (counts.kinds, counts.event, counts.noise_std) == (asked.kinds, asked.event(), 8.0)
    entries = place.ledger().entries()
    paid = [entry.hash for entry in entries if entry.kind == "reservation"]
    assert counts.reservation == paid[1]
    assert ask(place.agent(), "evaluate_noised", place.evaluation_request(asked)) == first
    rotate_key(place.home)
    again = place.agent()
    assert ask(again, "evaluate_noised", place.evaluation_request(asked)) == first
    summary = place.ledger().summary()
    assert (summary.spent, summary.reserved) == (2, 0)
    assert again.progress.epsilon == accounting.epsilon([place.plan().event(), asked.event()], 1e-5)
    assert [record.name for _, record in place.ledger().egress()][-3:] == ["counts"] * 3
    other = place.evaluation(noise_multiplier=5.0)
    assert code(ask(again, "evaluate_noised", place.evaluation_request(other))) == Refusal.ROUND_CONFLICT


@dataclass(frozen=True)
class Case:
    """One thing wrong with a request that is else good."""

    name: str
    spoil: Callable[[House], dict[str, bytes]]
    code: Refusal

    def __str__(self) -> str:
        return self.name


def _forged(place: House) -> dict[str, bytes]:
    stranger = keys.generate(place.home.folder / "stranger.key")
    request = place.evaluation_request(place.evaluation())
    return request | {"signature": place.evaluation().sign(stranger)}


def _plan_as_request(place: House) -> dict[str, bytes]:
    request = place.evaluation_request(place.evaluation())
    return request | {"signature": place.coordinator.sign(request["request"], keys.Purpose.PLAN)}


def _rubbish(place: House) -> dict[str, bytes]:
    return {"request": b"{}", "signature": place.coordinator.sign(b"{}", keys.Purpose.EVALUATION)}


def _altered(place: House) -> dict[str, bytes]:
    request = place.evaluation_request(place.evaluation())
    return request | {"request": place.evaluation(noise_multiplier=9.0).to_bytes()}


def _with(place: House, **changes: object) -> dict[str, bytes]:
    return place.evaluation_request(place.evaluation(**changes))


def _misshapen(place: House) -> dict[str, bytes]:
    place.states["scale/roi"] = spoilt(place.states["scale/roi"])
    return place.evaluation_request(place.evaluation())


CASES = [
    Case("signed by a stranger", _forged, Refusal.PLAN_UNSIGNED),
    Case("signed as a plan", _plan_as_request, Refusal.PLAN_UNSIGNED),
    Case("altered after signing", _altered, Refusal.PLAN_UNSIGNED),
    Case("signed rubbish", _rubbish, Refusal.BAD_REQUEST),
    Case("no request", lambda place: {}, Refusal.BAD_REQUEST),
    Case("too little noise", lambda p: _with(p, noise_multiplier=1.9), Refusal.POLICY_NOISE),
    Case("another campaign", lambda p: _with(p, campaign="winter"), Refusal.CAMPAIGN_NOT_ALLOWED),
    Case("kinds not allowed", lambda p: _with(p, kinds=(("roi", "detection"),)), Refusal.POLICY_EXPERTS),
    Case("another base", lambda p: _with(p, base_hash="0" * 64), Refusal.BASE_MISMATCH),
    Case("a misshapen expert", _misshapen, Refusal.EXPERTS_MISMATCH),
    Case("an expert left out", lambda p: _with(p) | {"expert/scale/wsi": b""}, Refusal.EXPERTS_MISMATCH),
]


@pytest.fixture(scope="module")
def shared(shared_house: Callable[..., House]) -> tuple[House, Agent]:
    """One agent for all the refusals: none of them may change it."""
    place = shared_house(noised=2.0)
    return place, place.agent()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_request_costs_nothing_and_gets_a_code(case: Case, shared: tuple[House, Agent]) -> None:
    """Catches counts that leave, or are charged, though they must be refused."""
    place, agent = shared
    kept = dict(place.states)
    try:
        assert code(ask(agent, "evaluate_noised", case.spoil(place))) == case.code
    finally:
        place.states.update(kept)
    summary = place.ledger().summary()
    assert (summary.spent, summary.reserved, summary.events) == (0, 0, ())


def test_nothing_is_counted_where_the_policy_does_not_offer_it(house: MakeHouse) -> None:
    """Catches an offer by default; the un-noised evaluation stays closed as well."""
    place = house()
    agent = place.agent()
    request = place.evaluation_request(place.evaluation())
    assert code(ask(agent, "evaluate_noised", request)) == Refusal.NOT_OFFERED
    assert code(ask(agent, "evaluate", {"request": b""})) == Refusal.NOT_OFFERED


def test_a_budget_too_small_for_counts_is_refused(house: MakeHouse) -> None:
    """Catches counts that are drawn and then found too dear."""
    place = house(budget=0.5, noised=2.0)
    request = place.evaluation_request(place.evaluation())
    assert code(ask(place.agent(), "evaluate_noised", request)) == Refusal.BUDGET_EXHAUSTED


def test_noise_that_can_be_repeated_never_leaves(house: MakeHouse) -> None:
    """Catches counts from a seeded source: whoever knows the seed takes the noise off. Nothing is charged."""
    place = house(noised=2.0)
    agent = place.agent(SeededRandom(1))
    reply = ask(agent, "evaluate_noised", place.evaluation_request(place.evaluation()))
    assert code(reply) == Refusal.INTERNAL
    summary = place.ledger().summary()
    assert (summary.voided, summary.spent) == (1, 0)


def test_who_is_counted_depends_on_policy_and_withdrawals(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a scale that the policy keeps out, or a patient who withdrew, among those that are counted."""
    place = house(noised=2.0, scales='["roi"]')
    counted: list[Sequence[Sample]] = []
    real = paid_work.noised_evaluation

    def watched(experts: object, samples: Sequence[Sample], *others: object, **more: object) -> NoisedCounts:
        counted.append(samples)
        return real(experts, samples, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("client.paid_work.noised_evaluation", watched)
    agent = place.agent()
    everyone = {sample.patient for sample in agent._data.samples if sample.scale == "roi"}
    leaver = min(everyone)
    add_withdrawn(place.home.withdrawn, [leaver])
    asked = place.evaluation()
    assert "counts" in ask(agent, "evaluate_noised", place.evaluation_request(asked))
    (samples,) = counted
    assert {sample.scale for sample in samples} == {"roi"}
    assert {sample.patient for sample in samples} == everyone - {leaver}


def test_an_agent_whose_code_failed_its_selftest_reserves_nothing_and_says_so(house: MakeHouse) -> None:
    """Catches training on an installation that is known to be broken, and a silence about one never tested."""
    place = house(noised=2.0)
    agent = place.agent()
    assert NEVER in [note.what for note in findings(place.home).notes]
    assert json.loads(agent.local_methods["status"](b""))["selftest"] == NEVER
    place.ledger().selftest(False, code_hash(), ["noise-scale"])
    for method, request in (
        ("train", place.request(place.plan())),
        ("evaluate_noised", place.evaluation_request(place.evaluation())),
    ):
        assert code(ask(agent, method, request)) == Refusal.SELFTEST_FAILED
    (problem,) = findings(place.home).problems
    assert "FAILED its self-test" in problem.what
    assert "noise-scale" in json.loads(agent.local_methods["status"](b""))["selftest"]
    assert place.ledger().summary().events == ()
    place.ledger().selftest(True, code_hash(), [])
    assert findings(place.home).problems == ()
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))
