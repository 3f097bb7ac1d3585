"""Where in a campaign an evaluation stands: before training, or after a round that is committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.evaluation import Evaluation
from server.campaign import BASE, Campaign, evaluated_with
from server.errors import CampaignError


@dataclass(frozen=True)
class Point:
    """After `round` rounds; `stage` is the one that the last of them belongs to ("base" before the first).

    `name` is under what it is stored: the stage's where it ended there, else `round-<number>`.
    """

    name: str
    round: int
    stage: str


def point_of(campaign: Campaign, committed: int, text: str | None) -> Point:
    """The point that `text` names: "base", a stage's kind (its end), a round's number or `round-<number>`; None: the last.

    Raises `CampaignError` where there is none such, or it is not committed yet.
    """
    ends = {BASE: 0}
    for stage in campaign.stages:
        ends[stage.kind] = max(ends.values()) + stage.rounds
    words = str(committed) if text is None else text.removeprefix("round-")
    number = ends.get(words, int(words) if words.isascii() and words.isdigit() else None)
    if number is None or number > campaign.rounds:
        known = ", ".join((*ends, f"1 to {campaign.rounds}"))
        raise CampaignError(f"campaign {campaign.name} has no point {text!r}: use one of {known}")
    if number > committed:
        raise CampaignError(
            f"round {number} of {campaign.name} is not committed yet ({committed} are): run the campaign first"
        )
    within = next(kind for kind, end in ends.items() if number <= end)
    return Point(within if number == ends[within] else f"round-{number}", number, within)


def request_at(campaign: Campaign, point: Point, states: Mapping[str, str]) -> Evaluation:
    """What is asked about the experts of a point; `states` gives the hash of every expert's state there."""
    on = evaluated_with(point.stage, states)
    return Evaluation(
        stage=point.stage,
        base_hash=campaign.base_hash,
        experts_hash={name: states[name] for name in on},
        forms=campaign.forms(on),
        expert_seed=campaign.seed,
        max_answer_tokens=campaign.longest_answer,
    )
