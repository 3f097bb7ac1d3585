"""What a coordinator does to a campaign from the page: the very same as on the command line."""

from __future__ import annotations

from collections.abc import Mapping

from privacy.events import Name, tell
from server import superlink
from server.loopback import accepts
from server.page.access.visitor import Visitor
from server.page.events import Action, CampaignSteered
from server.page.house import House

ACTIONS: Mapping[Action, str] = {
    Action.PAUSE: "It waits once the round under way has ended, until it is resumed. Nothing that was paid for is lost.",
    Action.RESUME: "It goes on with the next round.",
    Action.STOP: "Its run ends now. The round under way is not committed; who is asked for it again pays nothing more.",
}


def do(house: House, visitor: Visitor, action: Action, campaign: str) -> None:
    """Pause, resume or stop. Raises `ServerError` where the campaign stands otherwise."""
    store = house.store()
    if action == Action.PAUSE:
        store.pause(campaign)
    elif action == Action.RESUME:
        store.resume(campaign)
    else:
        run_id = store.stop(campaign)
        if accepts(house.home.port):  # else no run of Flower's is under way
            superlink.flower(house.home).stop(run_id)
    tell(CampaignSteered(Name(campaign), action, Name(visitor.name)))
