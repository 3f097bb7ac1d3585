"""What the hospital's IT has set against a coordinator's plans: hours, pause, approval, upgrade, and how an agent ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from client import agent as agents
from client import asked_campaigns, paid_work, paused
from client.agent import Agent
from client.asked_campaigns import AskedCampaigns
from client.cli import app
from client.installation import installed
from client.step_checkpoints import StepCheckpoints
from client.training import memory
from privacy import envelope, keys
from privacy.codes import Refusal
from privacy.ledger.account import Installed
from privacy.ledger.store import Ledger
from privacy.mechanism import Mechanism
from tests.unit.client.conftest import MECHANISM, House, ask

MakeHouse = Callable[..., House]
MONDAY_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NIGHTS = 'hours = ["mon-fri 19:00-07:00"]\ntime_zone = "UTC"\n'
MANUAL = 'approval = "manual"\n'


def with_policy(place: House, more: str) -> House:
    path = place.home.policy_file
    path.write_text(path.read_text().replace('campaigns = ["spring"]', 'campaigns = ["*"]') + more)
    return place


def answer(agent: Agent, place: House, number: int = 1, **changes: Any) -> str:
    """The code that the agent answers with, or "releases"."""
    reply = ask(agent, "train", place.request(place.plan(number, **changes)))
    return reply["code"].decode() if set(reply) == {"code"} else "releases"


def run(place: House, *words: str) -> Result:
    command, *others = words
    return CliRunner().invoke(app, [command, str(place.home.folder), *others])


def at(agent: Agent, now: list[datetime]) -> None:
    """Have the agent's ledger go by this clock."""
    agent._ledger._clock = lambda: now[0]


def refusals(place: House) -> list[str]:
    return [entry.body["code"] for entry in place.ledger().entries() if entry.kind == "refusal"]


# --- hours


def test_outside_of_the_hours_no_round_begins_and_nothing_is_paid(house: MakeHouse) -> None:
    """Catches hours that are only shown, a refusal that costs, and one that is for good."""
    place = with_policy(house(), NIGHTS)
    now = [MONDAY_NOON + timedelta(days=7 * 3000)]  # far ahead: a ledger's time never goes back
    agent = place.agent()
    at(agent, now)
    assert answer(agent, place) == Refusal.OUTSIDE_HOURS
    assert place.ledger().summary().events == ()
    assert refusals(place) == ["outside-hours"]
    now[0] += timedelta(hours=7)
    assert answer(agent, place) == "releases"
    now[0] += timedelta(hours=12)
    assert answer(agent, place) == "releases", "what was answered is answered again, with the same bytes"
    assert answer(agent, place, 2) == Refusal.OUTSIDE_HOURS


def test_a_round_under_way_ends_after_the_hours(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a round that was paid for and is thrown away at seven in the morning."""
    place = with_policy(house(), NIGHTS)
    now = [MONDAY_NOON + timedelta(days=7 * 3000, hours=18, minutes=59)]
    agent = place.agent()
    at(agent, now)
    train = paid_work.train_round

    def long(*arguments: Any, **others: Any) -> Any:
        now[0] += timedelta(hours=3)
        return train(*arguments, **others)

    monkeypatch.setattr(paid_work, "train_round", long)
    assert answer(agent, place) == "releases"


def test_an_interrupted_round_goes_on_outside_of_the_hours(house: MakeHouse) -> None:
    """Catches a reservation that waits for the night until the coordinator has gone on, and is lost."""
    place = with_policy(house(), NIGHTS)
    three = Mechanism(1.0, 20.0, 0.5, 3, 2)
    now = [MONDAY_NOON + timedelta(days=7 * 3000, hours=18)]
    agent = place.agent()
    at(agent, now)
    end_in(agent, after=1)
    assert answer(agent, place, mechanism=three) == Refusal.UNREACHABLE
    again = place.agent()
    at(again, [now[0] + timedelta(hours=4)])
    assert answer(again, place, mechanism=three) == "releases"
    assert len(place.ledger().summary().events) == 1


# --- approval


def test_a_campaign_that_nobody_approved_is_refused_until_somebody_has(house: MakeHouse) -> None:
    """Catches approval that is only asked for once, and a decision that is not signed into the ledger."""
    place = with_policy(house(), MANUAL)
    agent = place.agent()
    assert answer(agent, place) == Refusal.AWAITING_APPROVAL
    told = json.loads(run(place, "campaigns", "--json").stdout)
    (row,) = told["campaigns"]
    assert (row["campaign"], row["state"], row["paid"]) == ("spring", "awaiting approval", 0)
    assert (row["experts"], row["steps"]) == (["scale/roi", "scale/wsi"], 1)
    assert row["epsilon_of_a_round"] == row["epsilon_in_all_then"] > 0
    assert "awaiting approval" in run(place, "campaigns").output
    assert run(place, "approve", "spring").exit_code == 0
    assert answer(agent, place) == "releases"
    assert run(place, "approve", "spring", "--withdraw").exit_code == 0
    assert answer(agent, place, 2) == Refusal.AWAITING_APPROVAL
    words = [entry.body for entry in place.ledger().entries() if entry.kind == "approval"]
    assert words == [{"campaign": "spring", "approved": True}, {"campaign": "spring", "approved": False}]
    assert run(place, "approve", "spring", "--withdraw").exit_code == 2, "nothing is left to withdraw"


# --- pause


def test_paused_over_a_restart_and_resumed(house: MakeHouse) -> None:
    """Catches a pause that is forgotten with the process, or that costs the hospital anything."""
    place = house()
    agent = place.agent()
    assert run(place, "pause").exit_code == 0
    since = paused.since(place.home.paused)
    assert run(place, "pause").exit_code == 0
    assert paused.since(place.home.paused) == since, "since when is since the first time"
    for one in (agent, place.agent()):
        assert answer(one, place) == Refusal.PAUSED
    status = json.loads(agent.local_methods["status"](b""))
    assert status["paused_since"].startswith(f"{since:%Y-%m-%d}")
    assert place.ledger().summary().events == ()
    assert "again" in run(place, "resume").output
    assert answer(agent, place) == "releases"


def test_a_pause_lets_the_round_under_way_end(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a pause that throws away what was paid for."""
    place = house()
    agent = place.agent()
    train = paid_work.train_round

    def meanwhile(*arguments: Any, **others: Any) -> Any:
        paused.pause(place.home.paused)
        return train(*arguments, **others)

    monkeypatch.setattr(paid_work, "train_round", meanwhile)
    assert answer(agent, place) == "releases"
    assert answer(agent, place, 2) == Refusal.PAUSED


# --- the agent's end


def end_in(agent: Agent, after: int) -> threading.Thread:
    """Tell the agent to end once so many steps are kept."""
    keep, ended = agent._checkpoints.keep, threading.Thread(target=agent.end, args=(30.0,), daemon=True)

    def kept(reservation: Any, state: Any) -> None:
        keep(reservation, state)
        if state.steps == after:
            agent._ending.set()
            ended.start()

    agent._checkpoints.keep = kept  # type: ignore[method-assign]
    return ended


def test_an_agent_that_is_ended_finishes_its_step_and_goes_on_from_there(house: MakeHouse) -> None:
    """Catches a step that is thrown away, a round that is voided, and one that is charged again."""
    place = house()
    three = Mechanism(1.0, 20.0, 0.5, 3, 2)
    agent = place.agent()
    ended = end_in(agent, after=2)
    assert answer(agent, place, mechanism=three) == Refusal.UNREACHABLE
    ended.join(30)
    assert not ended.is_alive()
    assert answer(agent, place, 2) == Refusal.UNREACHABLE, "it takes nothing more on"
    (held,) = place.ledger().open_rounds()
    state = StepCheckpoints(place.home.checkpoints, keys.load(place.home.release_key)).read(held)
    assert state is not None
    assert state.steps == 2
    again = place.agent()
    seen: list[int] = []
    again.progress.step = lambda done, of: seen.append(done)  # type: ignore[method-assign]
    assert answer(again, place, mechanism=three) == "releases"
    assert seen == [3]
    summary = place.ledger().summary()
    assert (len(summary.events), summary.voided) == (1, 0)


def test_an_agent_that_is_ended_in_its_last_step_sends_the_round(house: MakeHouse) -> None:
    """Catches a round that is all done and kept back."""
    place = house()
    agent = place.agent()
    end_in(agent, after=1)
    assert answer(agent, place) == "releases"


# --- upgrade


def test_other_code_trains_nothing_until_it_is_recorded(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches code that comes in without the hospital's word, and a first start that asks for one."""
    place = house()
    assert answer(place.agent(), place) == "releases"
    entry = next(entry for entry in place.ledger().entries() if entry.kind == "upgrade")
    assert entry.body == {"before": None, "after": {"code": installed().code, "version": installed().version}}
    newer = Installed("1" * 64, "9.9.9")
    monkeypatch.setattr(agents, "installed", lambda: newer)
    agent = place.agent()
    assert answer(agent, place, 2) == Refusal.UPGRADE_PENDING
    assert "fedpath-hospital upgrade" in json.loads(agent.local_methods["status"](b""))["upgrade"]
    place.ledger().install(newer)
    assert answer(agent, place, 2) == "releases"
    assert answer(place.agent(), place, 3) == "releases"


def test_a_ledger_from_before_upgrades_were_recorded_counts_its_last_reservation(house: MakeHouse) -> None:
    """Catches an older hospital whose first upgrade passes unseen."""
    place = house()
    held = place.ledger().reserve(place.plan(), place.home.policy, "0" * 64)
    place.ledger().void(held)
    assert answer(place.agent(), place, 2) == Refusal.UPGRADE_PENDING
    assert place.ledger().installed() == Installed("0" * 64, None)


# --- GPU share


@pytest.mark.parametrize(
    ("free", "allocated", "share", "left"),
    [
        (70, 0, None, 70),
        (70, 0, 1.0, 70),
        (70, 0, 0.5, 40),
        (30, 0, 0.5, 30),
        (70, 10, 0.5, 30),
        (70, 50, 0.5, -10),
    ],
)
def test_a_share_bounds_what_is_planned_with(
    free: int, allocated: int, share: float | None, left: int
) -> None:
    """Catches a share of what happens to be free, and one that forgets what this process holds already."""
    assert memory.within_share(free, 80, allocated, share) == left


def test_a_plan_that_the_share_does_not_hold_costs_nothing(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a share that the planner knows nothing of."""
    total = 64 << 30
    monkeypatch.setattr(
        memory, "free_bytes", lambda device, share: memory.within_share(total, total, 0, share)
    )
    place = house()
    assert answer(place.agent(), place) == "releases"
    with_policy(place, "gpu_memory_share = 0.00001\n")
    assert answer(place.agent(), place, 2) == Refusal.DEVICE_MEMORY
    assert len(place.ledger().summary().events) == 1


# --- a coordinator that tries it on


@dataclass(frozen=True)
class Hostile:
    """One thing that a coordinator with a good key may try; `act` returns the codes that it got."""

    name: str
    act: Callable[[House, Agent], list[str]]
    codes: list[str]
    policy: str = ""

    def __str__(self) -> str:
        return self.name


def _escape_codes(place: House, agent: Agent) -> list[str]:
    """A signed plan whose campaign's name clears the terminal of who lists it."""
    text = place.plan().to_bytes().replace(b'"spring"', b'"\\u001b[2Jspring"')
    request = place.request(place.plan()) | {
        "plan": text,
        "signature": place.coordinator.sign(text, keys.Purpose.PLAN),
    }
    code = ask(agent, "train", request)["code"].decode()
    assert AskedCampaigns(place.home.asked_campaigns).all() == ()
    return [code]


def _huge(place: House, agent: Agent) -> list[str]:
    """Neither training nor a line in the list: the policy is asked first."""
    code = answer(agent, place, mechanism=replace(MECHANISM, steps=10**6))
    assert AskedCampaigns(place.home.asked_campaigns).all() == ()
    return [code]


def _many_names(place: House, agent: Agent) -> list[str]:
    codes = {answer(agent, place, campaign=f"c{number}") for number in range(asked_campaigns.MOST + 8)}
    kept = [one.campaign for one in AskedCampaigns(place.home.asked_campaigns).all()]
    assert len(kept) == asked_campaigns.MOST
    assert kept[-1] == f"c{asked_campaigns.MOST + 7}"
    answer(agent, place)
    rows = json.loads(run(place, "campaigns", "--json").stdout)["campaigns"]
    assert "spring" in {row["campaign"] for row in rows}, "an honest campaign comes back with its next plan"
    return sorted(codes)


def _last_second(place: House, agent: Agent) -> list[str]:
    """A plan that comes before the hours end, and is judged until after: no reservation bears a moment outside."""
    now = [MONDAY_NOON + timedelta(days=7 * 3000 + 1, hours=-5, microseconds=-1)]  # Tuesday 06:59:59.999999
    at(agent, now)
    keep = agents.keep_received

    def slow(*arguments: Any) -> None:
        keep(*arguments)
        now[0] += timedelta(seconds=1)

    agents.keep_received = slow
    try:
        codes = [answer(agent, place)]
    finally:
        agents.keep_received = keep
    assert place.ledger().summary().events == ()
    return codes


def _replay_after_withdrawal(place: House, agent: Agent) -> list[str]:
    """The plan of a round that was answered gets the same bytes, unpaid; one that was kept back gets nothing."""
    place.ledger().approve("spring", True)
    kept_back = envelope.pack(place.request(place.plan(2)))
    first = ask(agent, "train", place.request(place.plan()))
    place.ledger().approve("spring", False)
    assert ask(agent, "train", place.request(place.plan())) == first
    late = envelope.unpack(agent.courier_methods["train"](kept_back), 1 << 28)
    assert len(place.ledger().summary().events) == 1
    return [late["code"].decode()]


def _another_spelling(place: House, agent: Agent) -> list[str]:
    """A name that looks like the approved one."""
    place.ledger().approve("spring", True)
    return [answer(agent, place, campaign=name) for name in ("spring.", "spring-", "sprlng")]


CASES = [
    Hostile("a name with escape codes", _escape_codes, ["plan-invalid"], MANUAL),
    Hostile("a huge round", _huge, ["policy-steps"], MANUAL),
    Hostile("names without end", _many_names, ["awaiting-approval"], MANUAL),
    Hostile("in the last second of the hours", _last_second, ["outside-hours"], NIGHTS),
    Hostile("a replay after withdrawal", _replay_after_withdrawal, ["awaiting-approval"], MANUAL),
    Hostile("a name like the approved one", _another_spelling, ["awaiting-approval"] * 3, MANUAL),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_hostile_coordinators_plan_costs_nothing(case: Hostile, house: MakeHouse) -> None:
    """Catches a way around hours, approval or policy for who holds the coordinator's key."""
    place = with_policy(house(), case.policy)
    assert case.act(place, place.agent()) == case.codes


def test_the_ledger_and_not_the_agent_closes_the_gates(house: MakeHouse) -> None:
    """Catches gates that a caller can forget: `reserve` itself refuses."""
    place = with_policy(house(), MANUAL)
    ledger: Ledger = place.ledger()
    with pytest.raises(Exception, match="nobody here approved it") as caught:
        ledger.reserve(place.plan(), place.home.policy, installed().code)
    assert caught.value.code is Refusal.AWAITING_APPROVAL  # type: ignore[attr-defined]
