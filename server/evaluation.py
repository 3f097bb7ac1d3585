"""Evaluation: the consortium's evaluator, whose data are public, scores the experts of a committed round.

At "base" no expert is on and answers are direct; after SFT the scale experts are on; after GRPO all are, and
answers are thinking ones. The request is `privacy.evaluation`'s, with the states of the experts that are on
beside it; the answer is `metrics`: canonical JSON, a list of {"scale", "task", "metric", "mean", "ci95":
[low, high], "n", "further"}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from rich.markup import escape
from rich.table import Table

from privacy import canonical
from privacy.errors import WireError
from privacy.experts import SCALES, TASKS
from server.campaign import Campaign
from server.errors import EvaluationFailed
from server.exchange import exchange, is_busy, word
from server.points import Point, request_at
from server.records import REVOKED, Row
from server.rounds import Federation
from strategies.flower import read_reply

METHOD = "evaluate"
_LIMIT = 64 * 1024
_METRIC = 40  # letters
_FIELDS = {"scale", "task", "metric", "mean", "ci95", "n", "further"}


def evaluate(house: Federation, campaign: Campaign, point: Point) -> None:
    """Ask an evaluator and commit its rows. Raises `EvaluationFailed`, saying what it answered."""
    nodes = house.roll.gather(evaluators=True, least=1, seconds=campaign.round_deadline_s)
    node = min(nodes)
    message = Message(_content(house, campaign, point), node, MessageType.EVALUATE)
    answer = "no answer"
    for reply in exchange(house.grid, [message], campaign.round_deadline_s, house.clock, again=is_busy):
        parts = read_reply(reply, METHOD)
        if nodes[node] not in house.store.hospitals():
            answer = REVOKED
        elif "metrics" in parts:
            rows = read_rows(parts["metrics"])
            house.store.commit_evaluation(campaign.name, point.name, rows, point.round)
            return
        else:
            answer = word(parts.get("code", b"bad-reply"))
    raise EvaluationFailed(
        f"{nodes[node]} gave no figures at {point.name!r} of {campaign.name}: {answer}. Look at its agent's"
        " status, then ask again: a campaign goes on from here"
    )


def as_json(
    campaign: str, point: Point, experts: Mapping[str, str], rows: Sequence[Row]
) -> dict[str, object]:
    """An evaluation as JSON values."""
    figures = [
        {
            **{key: getattr(row, key) for key in ("scale", "task", "metric", "mean", "n", "further")},
            "ci95": [row.low, row.high],
        }
        for row in rows
    ]
    about = {"campaign": campaign, "point": point.name, "round": point.round, "stage": point.stage}
    return {**about, "experts": dict(experts), "scores": figures}


def table(campaign: str, point: Point, rows: Sequence[Row]) -> Table:
    """The same for the eye."""
    title = f"{campaign} after {point.name}: round {point.round}, on the evaluator's public data"
    found = Table("scale", "task", "metric", "mean", "95 % interval", "n", title=title, title_justify="left")
    for row in rows:
        figures = (f"{row.mean:.3f}", f"{row.low:.3f} to {row.high:.3f}", str(row.n))
        found.add_row(row.scale, row.task, escape(row.metric), *figures)
    return found


def read_rows(data: bytes) -> list[Row]:
    """Read an evaluator's metrics. Raises `EvaluationFailed` for anything but well-formed, distinct rows."""
    try:
        values = canonical.decode(data, _LIMIT)
    except WireError as error:
        raise EvaluationFailed(f"the evaluator's metrics: {error}") from error
    if not isinstance(values, list) or not values:
        raise EvaluationFailed("the evaluator's metrics are not a list of rows")
    rows = [_row(value) for value in values]
    own = [(row.scale, row.task) for row in rows if not row.further]
    if len(set(own)) != len(own) or len({(row.scale, row.task, row.metric) for row in rows}) != len(rows):
        raise EvaluationFailed("the evaluator's metrics give a task's figure at one scale twice")
    return rows


def _content(house: Federation, campaign: Campaign, point: Point) -> RecordDict:
    request = request_at(campaign, point, house.store.states(campaign.name, point.round))
    parts = {f"expert/{name}": house.store.state(digest) for name, digest in request.experts_hash.items()}
    return RecordDict({METHOD: ConfigRecord({"request": request.to_bytes(), **parts})})


def _row(value: object) -> Row:
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise EvaluationFailed(f"a row of the evaluator's metrics must have {', '.join(sorted(_FIELDS))}")
    if not _well_formed(value):
        raise EvaluationFailed("a row of the evaluator's metrics has a field of a wrong form")
    low, high = value["ci95"]
    return Row(
        value["scale"],
        value["task"],
        value["metric"],
        float(value["mean"]),
        float(low),
        float(high),
        value["n"],
        value["further"],
    )


def _well_formed(value: Mapping[str, Any]) -> bool:
    interval = value["ci95"]
    return (
        value["scale"] in SCALES
        and value["task"] in TASKS
        and isinstance(value["metric"], str)
        and 0 < len(value["metric"]) <= _METRIC
        and value["metric"].isprintable()
        and isinstance(interval, list)
        and len(interval) == 2
        and all(
            type(number) in (int, float) and math.isfinite(number) for number in (value["mean"], *interval)
        )
        and type(value["n"]) is int
        and value["n"] > 0
        and type(value["further"]) is bool
    )
