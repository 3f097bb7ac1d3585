"""What a shell completes: names that the home knows. Whatever goes wrong, it offers nothing and says nothing."""

from __future__ import annotations

from pathlib import Path

import typer


def campaigns(context: typer.Context, incomplete: str) -> list[str]:
    """Names of campaigns that asked."""
    from client.asked_campaigns import AskedCampaigns
    from client.home import Home

    try:
        asked = AskedCampaigns(Home(Path(context.params["home"]).absolute()).asked_campaigns).all()
        return sorted(one.campaign for one in asked if one.campaign.startswith(incomplete))
    except Exception:
        return []
