"""Campaign files that may be run from the page: those that whoever has the home's folder put into its `campaigns/`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from privacy.events import Name, tell
from server import superlink
from server.campaign import Campaign
from server.campaign_file import load_campaign
from server.errors import CampaignBusy, CampaignError
from server.flower_cli import checkout
from server.home import Home
from server.page.access.visitor import Visitor
from server.page.events import CampaignStarted
from server.reach import require_superlink
from server.runner import check_enrolled

FOLDER = "campaigns"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.toml")
_MOST = 200  # files that are looked at


@dataclass(frozen=True)
class File:
    """A campaign file by its name in the folder; `campaign` None where it is none, and then `wrong` says why."""

    name: str
    campaign: Campaign | None
    wrong: str = ""


def files(home: Home) -> list[File]:
    """All of them, by name."""
    found = (home.folder / FOLDER).glob("*.toml")
    names = sorted(path.name for path in found if _FILE.fullmatch(path.name) and path.is_file())
    return [_read(home.folder / FOLDER / name) for name in names[:_MOST]]


def file_of(home: Home, name: str) -> File:
    """The one of this name. Raises `CampaignError` where there is none: a name is looked up, and never made a path."""
    found = next((file for file in files(home) if file.name == name), None)
    if found is None:
        raise CampaignError(f"there is no campaign file {name!r} in {home.folder / FOLDER}: put it there")
    return found


def submit(home: Home, visitor: Visitor, name: str) -> str:
    """Run the campaign of a file, or go on with it from its last committed round. Returns Flower's run id.

    Raises `ServerError` where it is no campaign, or is being run; where too few hospitals are enrolled for it; and where no
    SuperLink answers.
    """
    file = file_of(home, name)
    if file.campaign is None:
        raise CampaignError(file.wrong)
    campaign = file.campaign.name
    check_enrolled(file.campaign, home.store().hospitals())
    if home.is_running(campaign):
        raise CampaignBusy(f"campaign {campaign!r} is being run already")
    require_superlink(home)
    config = {"home": str(home.folder), "campaign": str(home.folder / FOLDER / name)}
    run_id = superlink.flower(home).submit(checkout() / "pyproject.toml", config)
    tell(CampaignStarted(Name(campaign), Name(visitor.name)))
    return run_id


def deadline_s(found: Collection[File], campaign: str) -> float | None:
    """How long hospitals of this campaign have for an answer, as its file says; None where there is none in the folder."""
    times = [f.campaign.round_deadline_s for f in found if f.campaign and f.campaign.name == campaign]
    return times[0] if len(times) == 1 else None


def _read(path: Path) -> File:
    try:
        return File(path.name, load_campaign(path))
    except CampaignError as error:
        return File(path.name, None, str(error))
