"""What a coordinator does to a campaign from the page: the very same as on the command line."""

from __future__ import annotations

from collections.abc import Mapping

from privacy.events import Name, tell
from server import superlink
from server.errors import SuperLinkError
from server.home import Home
from server.loopback import accepts
from server.page.access.visitor import Visitor
from server.page.events import Action, CampaignSteered

WORDS: Mapping[Action, str] = {
    Action.PAUSE: "It waits once the round under way has ended, until it is resumed. Nothing that was paid for is lost.",
    Action.RESUME: "It goes on with the next round.",
    Action.STOP: "Its run ends now. The round under way is not committed; who is asked for it again pays nothing more.",
}


def steer(home: Home, visitor: Visitor, action: Action, campaign: str) -> None:
    """Pause, resume or stop; the journal says by whom. Raises `ServerError` where the campaign stands otherwise."""
    store = home.store()
    if action == Action.PAUSE:
        store.pause(campaign, visitor.name)
    elif action == Action.RESUME:
        store.resume(campaign, visitor.name)
    else:
        run_id = store.stop(campaign, visitor.name)
        tell(CampaignSteered(Name(campaign), action, Name(visitor.name)))
        try:
            if accepts(home.port):  # else no run of Flower's is under way
                superlink.flower(home).stop(run_id)
        except SuperLinkError as error:
            raise SuperLinkError(f"campaign {campaign} commits no round any more, but {error}") from error
        return
    tell(CampaignSteered(Name(campaign), action, Name(visitor.name)))
