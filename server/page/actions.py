"""What a coordinator does from the page: start a campaign, pause it, resume it, stop it; each is asked for first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from server.errors import CampaignError, ServerError
from server.loopback import accepts
from server.page import reading
from server.page.access.visitor import Visitor
from server.page.answers import campaign_at, drawn, house_of
from server.page.events import Action
from server.page.files import file_of, submit
from server.page.steering import WORDS, steer


def actions_of(row: Mapping[str, Any]) -> list[Action]:
    """What may be done to a campaign as it stands."""
    if row["held_at"] is not None:
        under_way = row["state"] in ("running", "paused")
        return [Action.RESUME, Action.STOP] if under_way else [Action.RESUME]
    return [Action.PAUSE, Action.STOP] if row["state"] == "running" else []


def confirm(request: Request, visitor: Visitor) -> Response:
    """Ask before something is done to a campaign."""
    row, action = campaign_at(house_of(request).store(), request), _action(request)
    back = f"/campaigns/{row['name']}"
    return drawn(
        request, visitor, "confirm.html", action=action, name=row["name"], words=WORDS[action], back=back
    )


def act(request: Request, visitor: Visitor) -> Response:
    """Pause, resume or stop a campaign."""
    home, name, action = house_of(request).home, request.path_params["name"], _action(request)
    return _done(request, visitor, lambda: steer(home, visitor, action, name), f"/campaigns/{name}")


def confirm_start(request: Request, visitor: Visitor) -> Response:
    """Ask before a campaign file is run, and say what it is about."""
    house = house_of(request)
    try:
        file = file_of(house.home, request.path_params["file"])
    except CampaignError:
        raise HTTPException(404) from None
    name = "" if file.campaign is None else file.campaign.name
    begun = next((row for row in reading.campaigns(house.store()) if row["name"] == name), None)
    return drawn(
        request,
        visitor,
        "start.html",
        file=file,
        begun=begun,
        is_running=bool(name) and house.home.is_running(name),
        linked=accepts(house.home.port),
        port=house.home.port,
    )


def start(request: Request, visitor: Visitor) -> Response:
    """Run one of the campaign files in the home."""
    home, file = house_of(request).home, request.path_params["file"]
    return _done(request, visitor, lambda: submit(home, visitor, file), "/")


def _done(request: Request, visitor: Visitor, what: Callable[[], object], then: str) -> Response:
    try:
        what()
    except ServerError as error:
        return drawn(request, visitor, "undone.html", status=409, error=str(error), back=then)
    return RedirectResponse(then, 303)


def _action(request: Request) -> Action:
    """The last part of the path: `server.page.routes` has one for each."""
    return Action(request.url.path.rpartition("/")[2])
