"""An agent's part in a round under distributed trust: the right sum, paid for once, and no other answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from client import paid_work, paused
from client.asked_campaigns import AskedCampaigns
from client.key_rotation import rotate_key
from client.sum_states import MOST_CAMPAIGNS
from client.training.cohort import cohort_of
from client.training.round import clipped_sum
from privacy.egress_record import MASKED
from privacy.keys import Purpose
from privacy.mechanism import SHARED
from privacy.receipt import ACCEPTED, Receipt
from privacy.secagg.clipped_share import share_of
from privacy.secagg.layout import Layout
from privacy.secagg.outgoing import STEPS
from tests.unit.client.conftest import Fixed, House, ask
from tests.unit.client.sum_cases import TERMS, SumRound

MakeHouse = Callable[..., House]


def offering(house: MakeHouse, any_campaign: bool = False, **changes: object) -> House:
    """A hospital that offers distributed trust, in "spring" alone or in `any_campaign`."""
    made = house(**changes)
    policy = made.home.folder / "policy.toml"
    text = policy.read_text().replace('["spring"]', '["*"]' if any_campaign else '["spring"]')
    policy.write_text(text + "distributed_trust = true\n")
    return made


@pytest.mark.parametrize("scales", ['["roi", "wsi"]', '["roi"]'], ids=["all-experts", "some"])
def test_the_sum_is_that_of_the_hospitals_shares_and_is_paid_for_once(house: MakeHouse, scales: str) -> None:
    """Catches numbers in another order than the server reads them, a sum that is not clipped, rounded or noised as the
    plan says, an expert that is trained though the policy does not allow it, a second charge, and a message that left
    unlogged.
    """
    here = offering(house, scales=scales)
    agent, round_ = here.agent(Fixed(5)), SumRound.of(here)
    _, total = round_.through(agent)
    assert total is not None
    random, plan = Fixed(5), round_.plan
    experts = agent._experts.load(plan, {f"expert/{name}": here.states[name] for name in plan.experts})
    trained = ("scale/roi", "scale/wsi") if "wsi" in scales else ("scale/roi",)
    cohort = cohort_of(
        experts,
        trained,
        agent._data.samples,
        agent._data.inputs,
        plan,
        agent._work.performance,
        tasks=("classification", "vqa"),
    )
    clipped = clipped_sum(cohort.draw(random))
    assert len(clipped.total) > 2
    layout = Layout({name: experts.shapes(name) for name in plan.experts})
    mine = share_of(clipped, layout, TERMS.noise(plan.mechanism, layout.size), random)
    noise_alone = 10 * mine.noise.sigma  # ten standard deviations of it
    parts = layout.split(mine.whole * 1.0)
    assert ("scale/wsi" in trained) or all(
        (abs(value) < noise_alone).all() for value in parts["scale/wsi"].values()
    )
    whole = mine.whole + sum(share.whole for share in round_.shares.values())
    np.testing.assert_array_equal(
        total.words.view(np.int32 if round_.session.bits == 32 else np.int64), whole
    )
    ledger = here.ledger()
    (event,) = ledger.summary().events
    assert (event.mechanism, event.steps) == (SHARED, 1)
    assert [record.name for _, record in ledger.egress()] == [
        "advert",
        "deal",
        "masked",
        "survivors",
        "opening",
    ]


def test_the_router_of_a_sum_tells_apart_the_tasks_of_the_policy(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a sum whose router learns of tasks that nobody labelled here."""
    here = offering(house)
    told = []

    def watched(*arguments: Any, **others: Any) -> Any:
        told.append(others["tasks"])
        return cohort_of(*arguments, **others)

    monkeypatch.setattr(paid_work, "cohort_of", watched)
    assert SumRound.of(here).through(here.agent())[1] is not None
    assert told == [("classification", "vqa")]


def test_a_killed_agent_goes_on_at_every_step_and_asked_again_says_the_same(house: MakeHouse) -> None:
    """Catches secrets that live in memory only, an answer that differs from the one before, and one more charge for it."""
    here = offering(house)
    round_ = SumRound.of(here)
    shown: dict[str, bytes] = {}
    for step in STEPS:
        mine = round_.ask(here.agent(), step, shown)
        assert not mine.startswith(b"refused"), (step, mine)
        assert round_.ask(here.agent(), step, shown) == mine
        shown = {"north": mine} | round_.messages(step, shown)
    assert len(here.ledger().summary().events) == 1
    (state,) = here.home.sums.iterdir()
    assert state.stat().st_mode & 0o077 == 0


def test_once_masked_no_other_session_of_the_round_gets_anything(house: MakeHouse) -> None:
    """Catches a second masked input over one charge, whose difference from the first would show a single hospital."""
    here = offering(house)
    agent, first = here.agent(), SumRound.of(here)
    first.through(agent, last="mask")
    again = SumRound.of(here, bits=64)
    assert again.session != first.session
    assert again.ask(agent, "advertise") == b"refused: round-conflict"
    for step in STEPS[1:]:
        assert again.ask(agent, step) == b"refused: conflict"
    assert len(here.ledger().summary().events) == 1


def test_before_anything_was_masked_a_round_may_be_begun_anew(house: MakeHouse) -> None:
    """Catches a hospital that is lost to the round because another one was, before anything was drawn or charged."""
    here = offering(house)
    agent, first = here.agent(), SumRound.of(here)
    first.through(agent, last="deal")
    _, total = SumRound.of(here, bits=64).through(agent)
    assert total is not None
    assert len(here.ledger().summary().events) == 1


def test_a_death_between_state_and_spend_loses_the_input_and_never_sends_it(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an input that is masked twice in one session, or sent without its charge: what was drawn stays charged, and
    another session draws and pays anew.
    """
    here = offering(house)
    agent, first = here.agent(), SumRound.of(here)
    shown, _ = first.through(agent, last="deal")

    def dies(*given: object) -> None:
        raise SystemExit

    monkeypatch.setattr(agent._ledger, "spend", dies)
    with pytest.raises(SystemExit):
        first.ask(agent, "mask", shown)
    again = here.agent()
    assert first.ask(again, "mask", shown) == b"refused: conflict"
    assert first.ask(again, "agree", dict.fromkeys(first.session.roll, b"")) == b"refused: conflict"
    assert "masked" not in [record.name for _, record in here.ledger().egress()]
    assert len(here.ledger().summary().events) == 1
    _, total = SumRound.of(here, attempt=2).through(again)
    assert total is not None
    assert len(here.ledger().summary().events) == 2


def test_a_receipt_ends_a_round(house: MakeHouse) -> None:
    """Catches shares of other hospitals' secrets that stay on disk for good, a receipt that is not kept, and a second answer
    to whoever asks once the state is gone.
    """
    here = offering(house)
    agent, round_ = here.agent(), SumRound.of(here)
    shown, _ = round_.through(agent, last="agree")
    digest = [record.sha256 for _, record in here.ledger().egress() if record.name == MASKED]
    receipt = Receipt("north", "spring", 1, round_.plan.hash, {MASKED: digest[0]}, {MASKED: ACCEPTED}, None)
    for _ in range(2):
        assert ask(agent, "receipt", {"receipt": receipt.sign(here.coordinator)}) == {}
    assert list(here.home.sums.iterdir()) == []
    assert here.ledger().summary().receipts == 1
    for restarted in (agent, here.agent()):
        assert round_.ask(restarted, "advertise") == b"refused: round-conflict"
        assert round_.ask(restarted, "reveal", shown) == b"refused: conflict"
    assert len(here.ledger().summary().events) == 1


def test_another_set_of_survivors_is_not_signed_for(house: MakeHouse) -> None:
    """Catches an opening both ways: a server that asks twice, with other survivors, is refused."""
    here = offering(house)
    agent, round_ = here.agent(), SumRound.of(here)
    shown, _ = round_.through(agent, last="agree")
    assert round_.ask(agent, "agree", {"north": b"", "south": b""}) == b"refused: conflict"
    assert not round_.ask(agent, "reveal", shown).startswith(b"refused")


def test_deals_that_do_not_hold_cost_nothing(house: MakeHouse) -> None:
    """Catches a charge for what the server could have known to be refused: nothing is drawn before the deals are checked."""
    here = offering(house)
    agent, round_ = here.agent(), SumRound.of(here)
    shown, _ = round_.through(agent, last="deal")
    del shown["south"]
    assert round_.ask(agent, "mask", shown) == b"refused: too-few"
    assert here.ledger().summary().events == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"size": 7}, b"wrong-shape"),
        ({"round": 2}, b"wrong-session"),
        ({"colluding": 0}, b"threshold"),
    ],
)
def test_a_session_that_is_not_the_plans_is_refused(
    house: MakeHouse, changes: dict[str, object], code: bytes
) -> None:
    """Catches a server that gives the hospital other terms than the plan: less noise, or another vector."""
    here = offering(house)
    assert SumRound.of(here, **changes).ask(here.agent(), "advertise") == b"refused: " + code


def test_who_is_not_on_record_is_refused(house: MakeHouse) -> None:
    """Catches a made-up hospital on the roll: what the server says of others counts for nothing."""
    here = offering(house)
    round_ = SumRound.of(here)
    (here.home.peers / "south.pub").unlink()
    agent = here.agent()
    assert round_.ask(agent, "advertise") == b"refused: unknown-hospital"
    assert here.ledger().summary().refused == 1


def test_hospitals_and_key_are_looked_at_in_each_step(house: MakeHouse) -> None:
    """Catches a charge in a session with a hospital that was struck off the record since it began, or that this hospital's
    new key could not sign for.
    """
    here = offering(house)
    agent, round_ = here.agent(), SumRound.of(here)
    shown, _ = round_.through(agent, last="deal")
    record = here.home.peers / "south.pub"
    key = record.read_bytes()
    record.unlink()
    assert round_.ask(agent, "mask", shown) == b"refused: unknown-hospital"
    record.write_bytes(key)
    rotate_key(here.home)
    assert round_.ask(here.agent(), "mask", shown) == b"refused: unknown-key"
    assert here.ledger().summary().events == ()


def test_a_sum_that_no_reply_can_carry_is_not_paid_for(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a plan for so many numbers that the hospital pays for a masked sum that can't leave."""
    here = offering(house)
    round_ = SumRound.of(here)
    words = round_.session.size * round_.session.bits // 8
    monkeypatch.setattr("client.shared_round._MOST_BYTES", words - 1)
    agent = here.agent()
    assert round_.ask(agent, "advertise") == b"refused: wrong-shape"
    monkeypatch.setattr("client.shared_round._MOST_BYTES", words)
    assert not round_.ask(agent, "advertise").startswith(b"refused")


LONG = bytes(100) + b"7" * (1 << 20)


def test_whatever_is_shown_in_place_of_messages_costs_nothing(house: MakeHouse) -> None:
    """Catches an oversized, repeated or foreign message that makes an agent fail otherwise than by a code, spoils the state
    that it stands in, or is charged: each step is answered as it should be afterwards.
    """
    here = offering(house)
    agent, round_ = here.agent(), SumRound.of(here)
    shown: dict[str, bytes] = {}
    for step in STEPS:
        if step == "agree":
            hostile = [{f"{n:0300}": b"" for n in range(400)}, {"north": b"", "nobody": b""}, {"south": b""}]
        else:
            hostile = [
                {**shown, "south": LONG},
                {f"{n}": LONG for n in range(20)},
                {f"{n}": message for n, message in enumerate([*shown.values()] * 2)},
            ]
        for given in hostile if step != "advertise" else ():
            answer = round_.ask(agent, step, given)
            assert answer.startswith(b"refused: "), (step, answer)
            assert answer != b"refused: internal", step
        assert len(here.ledger().summary().events) == (STEPS.index(step) > STEPS.index("mask"))
        answers = {"north": round_.ask(agent, step, shown)} | round_.messages(step, shown)
        assert not answers["north"].startswith(b"refused"), step
        shown = answers
    terms = round_.session.to_bytes().replace(b'"attempt":1', b'"attempt":' + b"1" * (1 << 17))
    request = round_.request("advertise") | {"session": terms}
    request["session_signature"] = here.coordinator.sign(terms, Purpose.SESSION)
    assert ask(agent, "sum", request) == {"code": b"malformed"}


def test_sessions_that_nobody_ends_leave_a_bounded_number_of_states(house: MakeHouse) -> None:
    """Catches a home that fills up with the states of campaigns that a coordinator makes up; and a masked sum that can be
    had twice because its state had to go.
    """
    here = offering(house, any_campaign=True)
    agent, first = here.agent(), SumRound.of(here)
    shown, _ = first.through(agent, last="mask")
    for number in range(MOST_CAMPAIGNS + 3):
        plan = replace(first.plan, campaign=f"made-up-{number}")
        session = replace(first.session, campaign=plan.campaign, plan_hash=plan.hash)
        other = replace(first, plan=plan, session=session)
        assert not other.ask(agent, "advertise").startswith(b"refused")
    assert len(list(here.home.sums.iterdir())) == MOST_CAMPAIGNS
    last = here.home.sums / f"made-up-{MOST_CAMPAIGNS + 2}.state"
    assert last.exists()
    assert first.ask(agent, "agree", dict.fromkeys(shown, b"")) == b"refused: conflict"
    assert first.ask(agent, "mask", shown) == b"refused: conflict"
    assert first.ask(agent, "advertise") == b"refused: round-conflict"
    assert len(here.ledger().summary().events) == 1
    (here.home.sums / "made-up-1.state.0123.part").write_bytes(b"{")
    here.agent()
    assert len(list(here.home.sums.iterdir())) == MOST_CAMPAIGNS


def test_another_campaigns_plan_or_session_gets_nothing(house: MakeHouse) -> None:
    """Catches a session that is carried on under another campaign's plan, or a plan under another campaign's session: each
    campaign's round has its own state and charge.
    """
    here = offering(house, any_campaign=True)
    agent, mine = here.agent(), SumRound.of(here)
    plan = replace(mine.plan, campaign="other")
    other = replace(
        mine, plan=plan, session=replace(mine.session, campaign="other", plan_hash=plan.hash), states={}
    )
    shown, _ = mine.through(agent, last="deal")
    for step in STEPS:
        for mixed in (replace(mine, plan=plan), replace(mine, session=other.session)):
            assert mixed.ask(agent, step, shown) == b"refused: wrong-session"
        if step != "advertise":
            assert other.ask(agent, step, shown) == b"refused: conflict"
    assert here.ledger().summary().events == ()
    assert not mine.ask(agent, "mask", shown).startswith(b"refused")


def test_what_was_asked_before_a_restart_is_asked_in_vain_after_it(house: MakeHouse) -> None:
    """Catches an agent that takes up an earlier step again once it has gone on: the same bytes, or nothing."""
    here = offering(house)
    round_ = SumRound.of(here)
    agent, asked, shown = here.agent(), dict[str, dict[str, bytes]](), dict[str, bytes]()
    answered: dict[str, bytes] = {}
    for step in STEPS:
        asked[step] = shown
        answered[step] = round_.ask(agent, step, shown)
        shown = {"north": answered[step]} | round_.messages(step, shown)
    again = here.agent()
    for step in STEPS:
        answer = round_.ask(again, step, asked[step])
        same = step in ("mask", "agree", "reveal")
        assert answer == (answered[step] if same else b"refused: conflict"), step
    assert len(here.ledger().summary().events) == 1


@pytest.mark.parametrize(("max_rank", "answer"), [(1, b"refused: policy-rank"), (2, b"")])
def test_a_hospital_of_a_lower_rank_takes_no_part_in_a_sum(
    house: MakeHouse, max_rank: int, answer: bytes
) -> None:
    """Catches a share that lacks columns, and one that is paid for before that shows."""
    here = offering(house)
    policy = here.home.folder / "policy.toml"
    policy.write_text(policy.read_text() + f"max_rank = {max_rank}\n")
    round_, agent = SumRound.of(here), here.agent()
    assert round_.plan.forms["scale/roi"].rank == 2
    assert round_.ask(agent, "advertise").startswith(answer)
    if answer:
        assert round_.ask(agent, "mask") == answer
        assert here.ledger().summary().events == ()
    else:
        assert not round_.ask(agent, "advertise").startswith(b"refused")


def test_policy_and_kind_of_plan_decide_what_is_answered(house: MakeHouse) -> None:
    """Catches a sum where the policy offers none, releases under a plan that paid for a sum, and the other way round."""
    here = house()
    round_, agent = SumRound.of(here), here.agent()
    assert round_.ask(agent, "advertise") == b"refused: not-offered"
    assert ask(agent, "train", here.request(round_.plan)) == {"code": b"plan-invalid"}
    plain = replace(round_, plan=replace(round_.plan, distributed=None))
    assert plain.ask(agent, "advertise") == b"refused: plan-invalid"
    forged = round_.request("advertise") | {"session_signature": bytes(64)}
    assert ask(agent, "sum", forged) == {"code": b"plan-unsigned"}
    assert ask(agent, "sum", round_.request("advertise") | {"step": b"dance"}) == {"code": b"bad-request"}
    assert here.ledger().summary().events == ()


def test_a_sum_begins_with_the_hospitals_leave_and_ends_without_asking_again(house: MakeHouse) -> None:
    """Catches a session that is begun past pause or approval, and one that is cut off after its input was paid for."""
    here = offering(house)
    policy = here.home.policy_file
    policy.write_text(policy.read_text() + 'approval = "manual"\n')
    round_, agent = SumRound.of(here), here.agent()
    assert round_.ask(agent, "advertise") == b"refused: awaiting-approval"
    assert [one.campaign for one in AskedCampaigns(here.home.asked_campaigns).all()] == [round_.plan.campaign]
    here.ledger().approve(round_.plan.campaign, True)
    paused.pause(here.home.paused)
    assert round_.ask(agent, "advertise") == b"refused: paused"
    assert here.ledger().summary().events == ()
    paused.resume(here.home.paused)
    shown: dict[str, bytes] = {}
    for step in STEPS:
        if step == "agree":
            paused.pause(here.home.paused)
            here.ledger().approve(round_.plan.campaign, False)
        answer = round_.ask(agent, step, shown)
        assert not answer.startswith(b"refused"), step
        shown = {"north": answer} | round_.messages(step, shown)
    assert len(here.ledger().summary().events) == 1
