"""What each address of the page answers: reads the store, makes a view of it, draws that."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from pages.live import changes
from server.errors import ServerError
from server.journal import export as write_journal
from server.lineage import lineage
from server.page import reading
from server.page.access.guard import still_allowed
from server.page.access.visitor import Visitor
from server.page.events import Action
from server.page.house import House
from server.page.steering import ACTIONS, do
from server.page.views import campaign as campaign_view
from server.page.views import spending
from server.page.views.words import answer_badge, meaning, state_of
from server.provision.renew import expiries
from server.store import Store

_REFUSED = 100  # refused releases that are shown
_LONGEST_NUMBER = 9


def overview(request: Request, visitor: Visitor) -> Response:
    """Every campaign: where it stands."""
    house = _house(request)
    store = house.store()
    rows = reading.campaigns(store)
    states = {row["name"]: state_of(row, house.home.is_running(row["name"])) for row in rows}
    return _page(
        request, visitor, "overview.html", campaigns=rows, states=states, startable=house.startable()
    )


def campaign(request: Request, visitor: Visitor) -> Response:
    """One campaign: the round under way, scores, and its rounds by page."""
    house, now = _house(request), datetime.now(UTC)
    store = house.store()
    row = _campaign(store, request)
    name = row["name"]
    stages = campaign_view.stages(house.definition(store, name))
    usual = {kind: campaign_view.usual(reading.durations(store, name, kind)) for kind, _ in stages}
    opened, working = reading.open_round(store, name), None
    if opened is not None:
        asks = reading.asks(store, name, opened["number"], opened["attempts"])
        working = campaign_view.under_way(opened, asks, usual.get(opened["stage"]), now)
    points = reading.points(store, name)
    at = campaign_view.rounds_at([point["point"] for point in points], stages)
    page = _number(request.query_params.get("page", "1"))
    return _page(
        request,
        visitor,
        "campaign.html",
        campaign=row,
        state=state_of(row, house.home.is_running(name)),
        stages=stages,
        working=working,
        left_s=campaign_view.time_left(stages, row["committed"], usual),
        scores=campaign_view.scores(points),
        charts=campaign_view.score_charts(points, at),
        rounds=reading.rounds(store, name, page),
        bytes_in=reading.traffic(store, name),
        page=page,
        pages=_pages(row["committed"] + (opened is not None)),
        actions=_actions(row),
        now=now,
    )


def round_of(request: Request, visitor: Visitor) -> Response:
    """One round: who was asked, what each answered, what became of the releases, and how far they agree."""
    store = _house(request).store()
    row = _campaign(store, request)
    found = reading.round_at(store, row["name"], _number(request.path_params["number"]))
    if found is None:
        raise HTTPException(404)
    where = row["name"], found["number"]
    return _page(
        request,
        visitor,
        "round.html",
        campaign=row,
        round=found,
        asks=[(ask, answer_badge(ask["answer"])) for ask in reading.asks(store, *where)],
        verdicts=reading.verdicts(store, *where),
        reports=reading.aggregates(store, *where),
        meaning=meaning,
    )


def experts(request: Request, visitor: Visitor) -> Response:
    """Each version of each expert: the round that made it, and what it came from."""
    store = _house(request).store()
    row = _campaign(store, request)
    versions = lineage(store, row["name"])[::-1]
    page = _number(request.query_params.get("page", "1"))
    shown = versions[reading.PER_PAGE * (page - 1) : reading.PER_PAGE * page]
    return _page(
        request, visitor, "experts.html", campaign=row, versions=shown, page=page, pages=_pages(len(versions))
    )


def hospitals(request: Request, visitor: Visitor) -> Response:
    """Who is enrolled, when each was last heard of, and what ends when."""
    house, now = _house(request), datetime.now(UTC)
    store = house.store()
    return _page(
        request,
        visitor,
        "hospitals.html",
        hospitals=list(store.hospitals().values()),
        invited=store.invited(),
        revoked=list(store.revoked().values()),
        kits=house.kits(store, now),
        contacts=reading.contacts(store),
        received=reading.received(store),
        refusals=reading.refusals(store),
        refused=reading.refused(store, _REFUSED),
        expiries=expiries(house.home, now),
        meaning=meaning,
        now=now,
    )


def privacy(request: Request, visitor: Visitor) -> Response:
    """Epsilon by hospital against what its kit proposes, and how many rounds that still holds."""
    house = _house(request)
    store = house.store()
    histories = spending.histories(reading.paid(store), reading.plans(store), reading.asked_for(store))
    coming = house.coming(store)
    accounts = [
        spending.account(name, histories.get(name, ()), house.limits(name), coming)
        for name, hospital in sorted(store.hospitals().items())
        if not hospital.evaluator
    ]
    chart = spending.chart(accounts, histories)
    return _page(
        request,
        visitor,
        "privacy.html",
        accounts=accounts,
        chart=chart,
        coming=coming,
        most=spending.COUNTED_TO,
    )


def journal(request: Request, visitor: Visitor) -> Response:
    """The journal's entries, the newest first."""
    page = _number(request.query_params.get("page", "1"))
    count, rows = reading.journal(_house(request).store(), page)
    return _page(request, visitor, "journal.html", entries=rows, count=count, page=page, pages=_pages(count))


def export(request: Request, visitor: Visitor) -> Response:
    """The whole journal as a file for an auditor: verified first, its head signed."""
    house = _house(request)
    folder = tempfile.mkdtemp(prefix="fedpath-journal-")
    file = Path(folder) / f"{house.home.name}-journal.jsonl"
    write_journal(file, house.store().journal(), house.home.coordinator(), datetime.now(UTC))
    gone = BackgroundTask(_remove, file)
    return FileResponse(file, filename=file.name, media_type="application/x-ndjson", background=gone)


def confirm(request: Request, visitor: Visitor) -> Response:
    """Ask before something is done to a campaign."""
    row, action = _campaign(_house(request).store(), request), _action(request)
    return _page(request, visitor, "confirm.html", campaign=row, action=action, words=ACTIONS[action])


def act(request: Request, visitor: Visitor) -> Response:
    """Pause, resume or stop a campaign."""
    house, name, action = _house(request), request.path_params["name"], _action(request)
    return _done(request, visitor, lambda: do(house, visitor, action, name), f"/campaigns/{name}")


def start(request: Request, visitor: Visitor) -> Response:
    """Run one of the campaign files in the home."""
    house, file = _house(request), request.path_params["file"]
    return _done(request, visitor, lambda: house.start(visitor, file), "/")


def events(request: Request, visitor: Visitor) -> Response:
    """Says when something changed."""
    house = _house(request)
    return changes(lambda: reading.mark(house.store()), still_allowed(request))


def _done(request: Request, visitor: Visitor, what: Callable[[], object], then: str) -> Response:
    try:
        what()
    except ServerError as error:
        return _page(request, visitor, "refused.html", status=409, error=str(error), back=then)
    return RedirectResponse(then, 303)


def _campaign(store: Store, request: Request) -> dict[str, Any]:
    name = request.path_params["name"]
    found = next((row for row in reading.campaigns(store) if row["name"] == name), None)
    if found is None:
        raise HTTPException(404)
    return found


def _actions(row: Mapping[str, Any]) -> list[str]:
    """What may be done to a campaign as it stands."""
    if row["held_at"] is not None:
        return ["resume", "stop"] if row["state"] in ("running", "paused") else ["resume"]
    return ["pause", "stop"] if row["state"] == "running" else []


def _action(request: Request) -> Action:
    """The last part of the path: `server.page.routes` has one for each."""
    return Action(request.url.path.rpartition("/")[2])


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < len(text) <= _LONGEST_NUMBER or int(text) < 1:
        raise HTTPException(404)
    return int(text)


def _pages(count: int) -> int:
    return max(1, -(-count // reading.PER_PAGE))


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.rmdir(file.parent)


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _page(request: Request, visitor: Visitor, template: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(request.app.state.house.draw(template, visitor, request.url.path, **values), status)
