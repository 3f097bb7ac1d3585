"""The pages of campaigns, their rounds and their experts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from privacy.expert_folder import state_file
from server.lineage import lineage
from server.loopback import accepts
from server.page import reading, reading_all
from server.page.access.roles import Role
from server.page.access.visitor import Visitor
from server.page.actions import actions_of
from server.page.answers import campaign_at, drawn, house_of, page_count, page_number, round_number
from server.page.files import deadline_s, files
from server.page.views import spending, stages
from server.page.views.scores import agreement_charts, score_charts, scores
from server.page.views.traffic import sent_by_campaign, sent_each
from server.page.views.under_way import course, under_way
from server.page.views.versions import shown
from server.page.views.words import answer_badge, meaning, state_of
from server.provision.renew import expiries
from server.store import Store


def overview(request: Request, visitor: Visitor) -> Response:
    """Every campaign: where it stands, and what is next."""
    house, now = house_of(request), datetime.now(UTC)
    store = house.store()
    rows = reading.campaigns(store)
    hospitals = store.hospitals()
    steers, sees_privacy = visitor.role.may(Role.COORDINATOR), visitor.role.may(Role.AUDITOR)
    spent = {}
    if sees_privacy:
        limits = {name: kit.limits if kit else None for name, kit in house.kits.of(hospitals).items()}
        spent = spending.most_spent(reading_all.accepted(store), reading.plans(store), limits)
    plan = {row["name"]: stages.stages_of(reading.definition(store, row["name"])) for row in rows}
    return drawn(
        request,
        visitor,
        "overview.html",
        campaigns=rows,
        states={row["name"]: state_of(row, house.home.is_running(row["name"])) for row in rows},
        coming={
            row["name"]: stages.after_now(plan[row["name"]], row["committed"], row["doing"]) for row in rows
        },
        spent=spent,
        hospitals=sum(not hospital.evaluator for hospital in hospitals.values()),
        invited=len(store.invited()),
        linked=accepts(house.home.port),
        port=house.home.port,
        first_end=min(expiries(house.home, now), key=lambda expiry: expiry.days),
        files=files(house.home) if steers else [],
    )


def campaign(request: Request, visitor: Visitor) -> Response:
    """One campaign: the round under way, scores, agreement, and its rounds by page."""
    house, now = house_of(request), datetime.now(UTC)
    store = house.store()
    row = campaign_at(store, request)
    name = row["name"]
    plan = stages.stages_of(reading.definition(store, name))
    usual = {kind: stages.usual(reading.durations(store, name, kind)) for kind, _ in plan}
    opened, working = reading.open_round(store, name), None
    if opened is not None and row["state"] != "done":
        asks = reading.asks(store, name, opened["number"], opened["attempts"])
        deadline = deadline_s(files(house.home), name)
        working = under_way(opened, asks, usual.get(opened["stage"]), deadline, now)
    points = reading.points(store, name)
    at = stages.rounds_at([point["point"] for point in points], plan)
    page = page_number(request)
    each = sent_each(reading.plans(store), store.state_size)
    return drawn(
        request,
        visitor,
        "campaign.html",
        campaign=row,
        state=state_of(row, house.home.is_running(name)),
        stages=plan,
        coming=stages.next_step(plan, row["committed"]),
        working=working,
        left_s=stages.time_left(plan, row["committed"], usual),
        scores=scores(points),
        charts=score_charts(points, at),
        agreement=agreement_charts(reading.agreements(store, name)),
        rounds=reading.rounds(store, name, page),
        each={kind: each.get((name, kind)) for kind, _ in plan},
        bytes_in=reading.came_in(store, name),
        bytes_out=sent_by_campaign(reading.sent(store), each).get(name),
        page=page,
        pages=page_count(row["committed"] + (opened is not None)),
        actions=actions_of(row),
        now=now,
    )


def round_of(request: Request, visitor: Visitor) -> Response:
    """One round: who was asked, what each answered, what became of the releases, and how far they agree."""
    store = house_of(request).store()
    row, found = _round(store, request)
    where = row["name"], found["number"]
    asks = reading.asks(store, *where)
    return drawn(
        request,
        visitor,
        "round.html",
        campaign=row,
        round=found,
        chart=course(found, [ask for ask in asks if ask["attempt"] == found["attempts"]]),
        asks=[(ask, answer_badge(ask["answer"])) for ask in asks],
        verdicts=reading.verdicts(store, *where),
        reports=reading.aggregates(store, *where),
        file_of={state_file(expert): expert for expert in sorted(found["states"] or ())},
        meaning=meaning,
    )


def experts_of(request: Request, visitor: Visitor) -> Response:
    """Each version of each expert of a campaign: the round that made it, what it came from, and how good it was."""
    store = house_of(request).store()
    row = campaign_at(store, request)
    versions = _versions(store, row)[::-1]
    page = page_number(request)
    part = versions[reading.PER_PAGE * (page - 1) : reading.PER_PAGE * page]
    return drawn(
        request,
        visitor,
        "lineage.html",
        campaign=row,
        versions=part,
        file_of=state_file,
        page=page,
        pages=page_count(len(versions)),
    )


def experts(request: Request, visitor: Visitor) -> Response:
    """The versions that stand now, of every campaign."""
    store = house_of(request).store()
    found = [
        (row, [version for version in _versions(store, row) if version.stands])
        for row in reading.campaigns(store)
    ]
    return drawn(request, visitor, "experts.html", campaigns=found, file_of=state_file)


def download(request: Request, visitor: Visitor) -> Response:
    """The state of an expert after a committed round, as the file that `fedpath-consortium experts` writes; it is checked
    against its hash first.
    """
    store = house_of(request).store()
    _, found = _round(store, request)
    states: dict[str, str] = found["states"] or {}
    for expert, digest in states.items():
        if state_file(expert) == request.path_params["file"]:
            headers = {"Content-Disposition": f'attachment; filename="{state_file(expert)}"'}
            return Response(store.state(digest), headers=headers, media_type="application/octet-stream")
    raise HTTPException(404)


def _round(store: Store, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    row = campaign_at(store, request)
    found = reading.round_at(store, row["name"], round_number(request))
    if found is None:
        raise HTTPException(404)
    return row, found


def _versions(store: Store, row: Mapping[str, Any]) -> list[Any]:
    name = row["name"]
    plan = stages.stages_of(reading.definition(store, name))
    points = reading.points(store, name)
    at = stages.rounds_at([point["point"] for point in points], plan)
    return shown(lineage(store, name), points, at, reading.agreements(store, name))
