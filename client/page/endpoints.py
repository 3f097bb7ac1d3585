"""What each address of the hospital's page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from client import paused
from client.asked_campaigns import AskedCampaigns
from client.errors import HomeError
from client.page.book import Read
from client.page.entry import Session, still_allowed
from client.page.house import House
from client.page.local_report import read_report, scores
from client.page.views import curves, departures, verdicts
from client.page.views import policy as policy_view
from client.page.views.campaigns import campaigns as campaigns_of
from client.page.views.now import now
from client.page.views.slides import Serving
from client.reward_curve import curves as reward_curves
from client.reward_curve import read_marks
from pages.live import changes
from privacy.errors import PrivacyError
from privacy.ledger.account import Account
from privacy.plan import is_campaign

PER_PAGE, SLIDES = 50, 24
_LONGEST_NUMBER = 9
# A report is one file with its style and pictures in it, and without a script; it is shown as an island.
_REPORT = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
T = TypeVar("T")


def well(request: Request, session: Session) -> Response:
    """Is it well, and what does it do now?"""
    house = _house(request)
    status = house.status()
    told = house.verdicts(status)
    try:
        read = house.ledger()
    except PrivacyError:
        read = Read(Account(), ())  # a verdict says what is wrong
    values = {
        "verdicts": verdicts.gravest_first(told),
        "worst": verdicts.worst(told),
        "doing": now(status, read.account),
        "paused": paused.since(house.home.paused),
        "refusals": departures.refusals(read.entries)[:10],
    }
    return _page(request, session, "well.html", **values)


def left(request: Request, session: Session) -> Response:
    """Everything that ever left, of all campaigns or of one."""
    house, campaign = _house(request), request.query_params.get("campaign", "")
    if campaign and not is_campaign(campaign):
        raise HTTPException(404)
    read = house.ledger()
    found = departures.departed(read.account, read.entries, house.home.policy.delta)
    chosen = [one for one in found if campaign in ("", one.campaign)]
    refused = departures.refusals(read.entries)
    page, pages, shown = _turned(request, chosen, PER_PAGE)
    values = {
        "shown": shown,
        "count": len(chosen),
        "bytes": sum(one.bytes for one in chosen),
        "totals": departures.totals(found),
        "campaign": campaign,
        "campaigns": sorted({one.campaign for one in found if one.campaign}),
        "refused": departures.refused_totals(refused),
        "refusals": refused[:PER_PAGE],
    }
    return _page(request, session, "left.html", page=page, pages=pages, **values)


def budget(request: Request, session: Session) -> Response:
    """What was spent of each limit, and how many rounds are left."""
    house = _house(request)
    read, policy = house.ledger(), house.home.policy
    values = {
        "spending": house.spending(read, policy),
        "delta": policy.delta,
        "charges": len(read.account.events()),
        "chart": curves.epsilon_curve(read.entries, policy.epsilon_budget, policy.delta),
    }
    return _page(request, session, "budget.html", **values)


def policy(request: Request, session: Session) -> Response:
    """The policy in force, each key in words, and when it changed."""
    house = _house(request)
    read = house.ledger()
    keys = policy_view.keys(house.home.policy.to_dict(), read.account.policy)
    history = policy_view.changes(read.entries)
    return _page(request, session, "policy.html", keys=keys, changes=history)


def campaigns(request: Request, session: Session) -> Response:
    """Who asked, what a round would cost, and this hospital's word on it."""
    house = _house(request)
    policy = house.home.policy
    asked = AskedCampaigns(house.home.asked_campaigns).all()
    rows = campaigns_of(house.ledger().account, asked, policy)
    return _page(
        request, session, "campaigns.html", rows=rows, manual=policy.approval == "manual", policy=policy
    )


def slides(request: Request, session: Session) -> Response:
    """What is indexed, and what does not serve and why."""
    house = _house(request)
    found = house.cohort(house.status())
    page, pages, shown = _turned(request, found.serving, SLIDES)
    return _page(request, session, "slides.html", cohort=found, shown=shown, page=page, pages=pages)


def slide(request: Request, session: Session) -> Response:
    """One slide, found by its pseudonym."""
    return _page(request, session, "slide.html", slide=_slide(request))


def thumbnail(request: Request, session: Session) -> Response:
    """A small picture of it."""
    return _picture(_house(request).thumbnail(_slide(request)), "image/jpeg")


def picture(request: Request, session: Session) -> Response:
    """The slide as the model sees it."""
    return _picture(_house(request).sheet(_slide(request)), "image/png")


def learning(request: Request, session: Session) -> Response:
    """How rewards rose, and what the last local evaluation found."""
    house = _house(request)
    try:
        marks = read_marks(house.home.rewards)
    except HomeError:
        marks = []
    found = reward_curves(marks)
    values = {
        "campaign": marks[0].campaign if marks else None,
        "chart": curves.reward_curves(found),
        "tasks": [
            (task, len(points), points[0][1], curves.smooth(points)[-1][1]) for task, points in found.items()
        ],
        "scores": scores(house.home.evaluation),
        "report": read_report(house.home.evaluation) is not None,
    }
    return _page(request, session, "learning.html", **values)


def report(request: Request, session: Session) -> Response:
    """The report that `evaluate` wrote last, as it lies there."""
    found = read_report(_house(request).home.evaluation)
    if found is None:
        raise HTTPException(404)
    return Response(
        found, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _REPORT}
    )


def events(request: Request, session: Session) -> Response:
    """Says when something changed."""
    house = _house(request)
    return changes(lambda: _mark(house), still_allowed(request))


def _mark(house: House) -> tuple[object, ...]:
    try:
        last = house.ledger().account.last
    except PrivacyError:
        last = None
    status = house.status()
    kept = tuple(str(status.get(key)) for key in ("phase", "campaign", "round", "step", "of"))
    return (last and last.sequence, kept, paused.since(house.home.paused), house.courier())


def _picture(data: bytes | None, kind: str) -> Response:
    if data is None:
        return PlainTextResponse("No picture can be made: `fedpath-hospital slide show` says why.\n", 503)
    return Response(data, media_type=kind)


def _slide(request: Request) -> Serving:
    key = request.path_params["key"]
    found = [slide for slide in _house(request).cohort({}).serving if slide.key == key]
    if not found:
        raise HTTPException(404)
    return found[0]


def _turned(request: Request, things: Sequence[T], each: int) -> tuple[int, int, Sequence[T]]:
    """The page that is asked for, how many there are, and what stands on it."""
    text = request.query_params.get("page", "1")
    if not text.isascii() or not text.isdecimal() or not 0 < len(text) <= _LONGEST_NUMBER or int(text) < 1:
        raise HTTPException(404)
    page = int(text)
    return page, max(1, -(-len(things) // each)), things[each * (page - 1) : each * page]


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _page(request: Request, session: Session, template: str, **values: Any) -> Response:
    return HTMLResponse(_house(request).draw(template, session, request.url.path, **values))
