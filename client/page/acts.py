"""What the page does: pause, resume, approve, withdraw; each as the command of that name does it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from client import paused
from client.asked_campaigns import AskedCampaigns
from client.page import commands
from client.page.entry import COOKIE, Session
from client.page.house import House
from privacy.plan import is_campaign

_READ_ONLY = (
    "This page may only look here: use `fedpath-hospital {}` where the agent's home can be written.\n"
)


def pause(request: Request, session: Session) -> Response:
    """Take no new round."""
    return _steered(request, "pause")


def resume(request: Request, session: Session) -> Response:
    """Take new rounds again."""
    return _steered(request, "resume")


def approve(request: Request, session: Session) -> Response:
    """Approve a campaign: a signed entry of the ledger."""
    return _answered(request)


def withdraw(request: Request, session: Session) -> Response:
    """Approve a campaign no more."""
    return _answered(request, "--withdraw")


def leave(request: Request, session: Session) -> Response:
    """End this session."""
    request.app.state.entry.leave(request.cookies.get(COOKIE))
    return PlainTextResponse("You are out. The address in page/address lets you in again.\n")


def _steered(request: Request, how: str) -> Response:
    house: House = request.app.state.house
    if not house.may_act:
        return PlainTextResponse(_READ_ONLY.format(how), 409)
    if how == "pause":
        paused.pause(house.home.paused)
    else:
        paused.resume(house.home.paused)
    return RedirectResponse("/", 303)


def _answered(request: Request, *how: str) -> Response:
    house: House = request.app.state.house
    name = request.path_params["name"]
    account = house.ledger().account
    known = {one.campaign for one in AskedCampaigns(house.home.asked_campaigns).all()}
    if not is_campaign(name) or name not in known | set(account.campaigns()) | account.approved:
        raise HTTPException(404)
    if not house.may_approve:
        return PlainTextResponse(_READ_ONLY.format("approve"), 409)
    commands.run("approve", str(house.home.folder), *how, "--", name)
    return RedirectResponse("/campaigns", 303)
