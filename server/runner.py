"""The campaign's loop: ask the state machine what comes next, do it, until it is done.

All state is in the store, so the loop may be killed at any instant: the next run begins with the first thing
that is not committed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from flwr.serverapp import Grid

from privacy.events import Name, tell
from server.campaign import Campaign, Done, Evaluate, EvaluateNoised, Train, next_action
from server.campaign_file import load_campaign, load_initial
from server.clock import Clock
from server.database import Patience
from server.errors import CampaignError, DatabaseAway, HomeError, ServerError, TransactionLost
from server.evaluation import evaluate
from server.events import CampaignRunning
from server.home import Home
from server.noised_evaluation import evaluate_noised
from server.points import Point, point_of
from server.reach import require_certificate
from server.receipts import deliver
from server.records import Hospital
from server.roll import roll_of
from server.rounds import Federation, run_round
from server.store import Store
from server.sums import run_sum_round

_LOG = logging.getLogger("fedpath.runner")
_POLL_S = 2.0  # how soon a paused campaign sees that it may go on
DATABASE_AWAY_S = 1800.0  # for how long a campaign waits for its database


def run_campaign_file(grid: Grid, home: Home, path: Path, run_id: str, clock: Clock) -> None:
    """Run, or take up again, the campaign of a file, as the only process that does."""
    campaign = load_campaign(path)
    initial = load_initial(campaign, path)
    with home.only_runner(campaign.name):
        note = home.waiting(campaign.name)
        note.end()  # a killed run's
        store = home.store(clock.now, Patience(DATABASE_AWAY_S, clock, note))
        house = Federation(grid, store, home.coordinator(), clock, roll_of(grid, store, clock))
        try:
            run_campaign(house, campaign, initial, run_id)
        except ServerError:
            raise
        except Exception:  # of Flower's, which does not say what to do
            _require_certificate(home, store, campaign, clock)
            raise


def _require_certificate(home: Home, store: Store, campaign: Campaign, clock: Clock) -> None:
    try:
        require_certificate(home, clock.now())
    except HomeError as error:
        store.failed(
            campaign.name, f"{error}. Then run the campaign again: it goes on from the last committed round"
        )
        raise


def evaluate_campaign_file(grid: Grid, home: Home, path: Path, text: str, clock: Clock) -> None:
    """Have the evaluator score the experts of one point of the campaign of a file, as the only process that does."""
    campaign = load_campaign(path)
    with home.only_runner(campaign.name):
        store = home.store(clock.now)
        house = Federation(grid, store, home.coordinator(), clock, roll_of(grid, store, clock))
        evaluate(house, campaign, begun_point(store, campaign, text))


def begun_point(store: Store, campaign: Campaign, text: str | None) -> Point:
    """The point of a campaign that was begun under this very definition: `server.points.point_of`.

    Raises `CampaignError` where it was not, `StoreError` where it never began.
    """
    store.check_definition(campaign)
    return point_of(campaign, store.progress(campaign.name).rounds, text)


def run_campaign(house: Federation, campaign: Campaign, initial: Mapping[str, bytes], run_id: str) -> None:
    """Do all that is not committed yet. What stops it is recorded in the store, and raised."""
    store = house.store
    check_enrolled(campaign, store.hospitals())
    store.begin(campaign, initial, run_id)
    tell(CampaignRunning(Name(campaign.name)))
    try:
        while _step(house, campaign):
            pass
    except DatabaseAway:  # nothing can be noted in it either
        raise
    except Exception as error:
        store.failed(campaign.name, f"{type(error).__name__}: {error}")
        raise


def _step(house: Federation, campaign: Campaign) -> bool:
    """Do what comes next, and say whether anything is left. Where the database went away in the middle of a transaction,
    what stands says what comes next: hospitals that are asked again give the same bytes, and pay nothing.
    """
    try:
        await_leave(house, campaign.name)
        action = next_action(campaign, house.store.progress(campaign.name))
        if not isinstance(action, Done):
            _do(house, campaign, action)
            return True
        deliver(house.grid, house.store, house.roll, house.clock)
        house.store.finished(campaign.name)
    except TransactionLost as error:
        _LOG.warning("%s; the campaign goes on from what is committed", error)
        return True
    return False


def _do(house: Federation, campaign: Campaign, action: Evaluate | EvaluateNoised | Train) -> None:
    store = house.store
    if isinstance(action, Evaluate):
        store.doing(campaign.name, f"evaluating {action.point}")
        committed = store.progress(campaign.name).rounds
        evaluate(house, campaign, point_of(campaign, committed, action.point))
    elif isinstance(action, EvaluateNoised):
        store.doing(campaign.name, f"asking hospitals for noised counts after {action.point}")
        evaluate_noised(house, campaign, action)
    else:
        store.doing(campaign.name, f"{action.stage.kind} round {action.of_stage} of {action.stage.rounds}")
        (run_round if action.stage.distributed is None else run_sum_round)(house, campaign, action)


def await_leave(house: Federation, campaign: str) -> None:
    """Wait as long as the campaign is paused. Raises `CampaignStopped`."""
    told = False
    while house.store.is_held(campaign):
        if not told:
            house.store.paused(campaign)
            told = True
        house.clock.sleep(_POLL_S)


def check_enrolled(campaign: Campaign, hospitals: Mapping[str, Hospital]) -> None:
    """Raise `CampaignError` where too few are enrolled for the campaign ever to get on, or one that it names is not."""
    enrolled = {name for name, hospital in hospitals.items() if not hospital.evaluator}
    if unknown := sorted((campaign.members or set()) - enrolled):
        raise CampaignError(
            f"campaign {campaign.name}: weights or patients name {', '.join(unknown)}, but no such hospital is enrolled: "
            "mend the name, or enroll it with `fedpath-consortium enroll`"
        )
    training = len(enrolled if campaign.members is None else campaign.members)
    if training < campaign.quorum:
        raise CampaignError(
            f"campaign {campaign.name}: quorum = {campaign.quorum}, but {training} hospitals can take part: "
            "enroll more with `fedpath-consortium enroll`, or lower the quorum"
        )
    if campaign.points() and len(enrolled) == len(hospitals):
        raise CampaignError(
            f'campaign {campaign.name}: evaluate = "stages", but no evaluator is enrolled: '
            '`fedpath-consortium enroll --evaluator`, or set evaluate = "never"'
        )
