"""What each address of the hospital's page answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from client import paused
from client.asked_campaigns import AskedCampaigns
from client.health import health
from client.page import views
from client.page.entry import COOKIE, Session, still_allowed
from client.page.house import House
from client.page.policy_words import WORDS
from pages.live import changes
from privacy import accounting, keys
from privacy.ledger.reading import departures
from privacy.ledger.store import Ledger
from privacy.plan import is_campaign

PER_PAGE = 50
_SLIDES = 60
_LONGEST_NUMBER = 9


def well(request: Request, session: Session) -> Response:
    """Is it well, and what does it do now?"""
    house = _house(request)
    account, entries = house.book.now()
    tested = account.selftests.get(house.code)
    now = health(house.home)
    told = views.verdicts(
        now,
        paused.since(house.home.paused),
        house.courier(),
        house.expiries(datetime.now(UTC)),
        house.free(),
        None if tested is None else tested.passed,
    )
    status = house.status()
    return _page(
        request,
        session,
        "well.html",
        verdicts=told,
        worst=views.worst(told),
        status=status,
        paused=paused.since(house.home.paused),
        refusals=views.refusals(entries)[:10],
        now=datetime.now(UTC),
    )


def left(request: Request, session: Session) -> Response:
    """Everything that ever left."""
    house = _house(request)
    _, entries = house.book.now()
    parts = departures(entries)
    page = _number(request.query_params.get("page", "1"))
    newest = parts[::-1][PER_PAGE * (page - 1) : PER_PAGE * page]
    return _page(
        request,
        session,
        "left.html",
        parts_left=newest,
        count=len(parts),
        bytes=sum(record.bytes for _, record in parts),
        refusals=views.refusals(entries)[:PER_PAGE],
        page=page,
        pages=max(1, -(-len(parts) // PER_PAGE)),
    )


def budget(request: Request, session: Session) -> Response:
    """What was spent of each limit, and how many rounds are left."""
    house = _house(request)
    account, entries = house.book.now()
    policy = house.home.policy
    limits = [
        (limit.scope, house.book.epsilon(limit, policy.delta), limit.epsilon)
        for limit in house.book.limits(account, policy)
    ]
    return _page(
        request,
        session,
        "budget.html",
        limits=limits,
        delta=policy.delta,
        rounds=len(account.events()),
        rounds_left=house.book.rounds_left(account, policy),
        chart=views.left_chart(departures(entries), policy.epsilon_budget),
    )


def policy(request: Request, session: Session) -> Response:
    """The policy in force, each key in words, and when it changed."""
    house = _house(request)
    _, entries = house.book.now()
    values = house.home.policy.to_dict()
    rows = [(key, views.shown(value), WORDS.get(key, "")) for key, value in values.items()]
    return _page(request, session, "policy.html", rows=rows, changes=views.policy_changes(entries))


def campaigns(request: Request, session: Session) -> Response:
    """Who asked, what a round would cost, and this hospital's word on it."""
    house = _house(request)
    account, _ = house.book.now()
    policy = house.home.policy
    asked = {one.campaign: one for one in AskedCampaigns(house.home.asked_campaigns).all()}
    charges = [charge.campaign for charge in account.charges()]
    rows = [
        {
            "name": name,
            "approved": name in account.approved,
            "paid": charges.count(name),
            "asked": asked.get(name),
            "costs": accounting.epsilon([asked[name].event], policy.delta) if name in asked else None,
        }
        for name in sorted({*account.approved, *charges, *asked})
    ]
    return _page(request, session, "campaigns.html", rows=rows, manual=policy.approval == "manual")


def slides(request: Request, session: Session) -> Response:
    """What is indexed, and what does not serve and why."""
    house = _house(request)
    entries = house.slides()
    serving = [entry for entry in entries.values() if entry.facts is not None and not entry.gone]
    page = _number(request.query_params.get("page", "1"))
    return _page(
        request,
        session,
        "slides.html",
        count=len(serving),
        serving=serving[_SLIDES * (page - 1) : _SLIDES * page],
        skipped=views.skipped(entries, house.status().get("skipped", {})),
        page=page,
        pages=max(1, -(-len(serving) // _SLIDES)),
    )


def slide(request: Request, session: Session) -> Response:
    """One slide, found by its pseudonym."""
    found = _slide(request)
    return _page(request, session, "slide.html", slide=found)


def picture(request: Request, session: Session) -> Response:
    """Its picture: made when it is asked for, kept nowhere."""
    data = _house(request).picture(_slide(request).name)
    if data is None:
        return PlainTextResponse("No picture could be made: `fedpath-hospital slide show` says why.\n", 503)
    return Response(data, media_type="image/png")


def pause(request: Request, session: Session) -> Response:
    """Take no new round."""
    paused.pause(_house(request).home.paused)
    return RedirectResponse("/", 303)


def resume(request: Request, session: Session) -> Response:
    """Take new rounds again."""
    paused.resume(_house(request).home.paused)
    return RedirectResponse("/", 303)


def approve(request: Request, session: Session) -> Response:
    """Approve a campaign: a signed entry of the ledger."""
    return _approved(request, approved=True)


def withdraw(request: Request, session: Session) -> Response:
    """Approve a campaign no more."""
    return _approved(request, approved=False)


def leave(request: Request, session: Session) -> Response:
    """End this session."""
    request.app.state.entry.leave(request.cookies.get(COOKIE))
    return PlainTextResponse("You are out. The address in page-address lets you in again.\n")


def events(request: Request, session: Session) -> Response:
    """Says when something changed."""
    house = _house(request)
    return changes(lambda: _mark(house), still_allowed(request))


def _mark(house: House) -> tuple[object, ...]:
    account, _ = house.book.now()
    status = house.status()
    kept = tuple(str(status.get(key)) for key in ("phase", "campaign", "round", "step", "of"))
    return (account.last and account.last.sequence, kept, paused.since(house.home.paused), house.courier())


def _approved(request: Request, *, approved: bool) -> Response:
    house, name = _house(request), request.path_params["name"]
    account, _ = house.book.now()
    known = {one.campaign for one in AskedCampaigns(house.home.asked_campaigns).all()}
    if not is_campaign(name) or name not in known | set(account.campaigns()) | account.approved:
        raise HTTPException(404)
    Ledger(house.home.ledger, keys.load(house.home.release_key)).approve(name, approved)
    return RedirectResponse("/campaigns", 303)


def _slide(request: Request) -> Any:
    key = request.path_params["key"]
    found = [
        entry for entry in _house(request).slides().values() if entry.key == key and entry.facts is not None
    ]
    if not found:
        raise HTTPException(404)
    return found[0]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < len(text) <= _LONGEST_NUMBER or int(text) < 1:
        raise HTTPException(404)
    return int(text)


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _page(request: Request, session: Session, template: str, **values: Any) -> Response:
    return HTMLResponse(_house(request).draw(template, session, request.url.path, **values))
