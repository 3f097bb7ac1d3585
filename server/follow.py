"""Following a campaign from outside: what its store says, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from server.errors import SuperLinkError
from server.flower_cli import FlowerCli
from server.home import Home
from server.records import Row, RunState
from server.store import Store

_POLL_S = 1.0
_ASK_FLOWER_S = 15.0


def follow(
    home: Home,
    store: Store,
    cli: FlowerCli,
    campaign: str,
    run_id: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[RunState]:
    """Yield each new state of the campaign's run `run_id`, until it is done, stopped or failed.

    Raises `SuperLinkError` where the run ended without a word: its process was killed, or never got so far.
    """
    last: RunState | None = None
    quiet = 0.0
    while last is None or last.state in ("running", "paused"):
        state = store.run_state(campaign)
        if state is not None and state.run_id == run_id and state != last:
            last, quiet = state, 0.0
            yield state
            continue
        sleep(_POLL_S)
        quiet += _POLL_S
        if quiet % _ASK_FLOWER_S == 0 and not home.is_running(campaign) and cli.has_ended(run_id):
            if (state := store.run_state(campaign)) is not None and state.run_id == run_id and state != last:
                continue  # it had its word just now
            raise SuperLinkError(
                f"run {run_id} of {campaign} ended without a word. Flower's log ends with: "
                f"{cli.last_words(run_id)} -- mend the cause and run the campaign again: it goes on "
                "from the last committed round"
            )


def await_evaluation(
    store: Store,
    cli: FlowerCli,
    campaign: str,
    point: str,
    run_id: str,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Row]:
    """The rows of an evaluation that Flower's run `run_id` was started for, once they are committed.

    Raises `SuperLinkError`, with the run's last words, where it ended without.
    """
    waited = 0.0
    while not (rows := store.evaluation(campaign, point)):
        sleep(_POLL_S)
        waited += _POLL_S
        if waited % _ASK_FLOWER_S == 0 and cli.has_ended(run_id):
            if rows := store.evaluation(campaign, point):
                break
            raise SuperLinkError(
                f"run {run_id} ended without an evaluation of {campaign} at {point}. Flower's log ends with: "
                f"{cli.last_words(run_id)} -- mend the cause and ask again"
            )
    return rows
