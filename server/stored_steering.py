"""What the coordinator asks of a running campaign: to pause, to go on, to stop. Each is an entry of the journal."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql

from server import committed, tables
from server.errors import CampaignError, CampaignStopped
from server.journal import Kind
from server.stored import Stored

STOPPED = "stopped"


class StoredSteering(Stored):
    """A pause lasts, over restarts too, until `resume` or `stop`; a stop lasts until the campaign is run again.

    `by` is the user of the coordinator's page who asked, as the journal then says; None for the command line.
    """

    def pause(self, campaign: str, by: str | None = None) -> None:
        """Let the campaign wait once the round under way is committed. Raises `CampaignError` where it is done, or waits."""
        with self._database.transaction() as connection:
            row = _begun(connection, campaign)
            if row.state == "done" or row.held_at is not None:
                what = "done" if row.state == "done" else f"paused since {row.held_at} already"
                raise CampaignError(f"campaign {campaign!r} is {what}")
            self._steer(connection, campaign, Kind.PAUSE, by, held_at=self._when())

    def resume(self, campaign: str, by: str | None = None) -> None:
        """Let a paused campaign go on. Raises `CampaignError` where it is not paused."""
        with self._database.transaction() as connection:
            if _begun(connection, campaign).held_at is None:
                raise CampaignError(f"campaign {campaign!r} is not paused")
            self._steer(connection, campaign, Kind.RESUME, by, held_at=None)

    def stop(self, campaign: str, by: str | None = None) -> str:
        """End the campaign's run: from now on it commits no round. Returns Flower's run id.

        Raises `CampaignError` where no run of it is under way.
        """
        with self._database.transaction() as connection:
            row = _begun(connection, campaign)
            if row.state not in ("running", "paused"):
                raise CampaignError(f"campaign {campaign!r} is {row.state}: there is no run to stop")
            self._steer(connection, campaign, Kind.STOP, by, held_at=None, state=STOPPED, doing="stopped")
            return str(row.run_id)

    def is_held(self, campaign: str) -> bool:
        """Whether the campaign is to wait now. Raises `CampaignStopped`."""
        with self._database.transaction() as connection:
            check_not_stopped(connection, campaign)
            return _begun(connection, campaign).held_at is not None

    def _steer(
        self, connection: sql.Connection, campaign: str, kind: Kind, by: str | None, **values: str | None
    ) -> None:
        update = tables.campaigns.update().where(tables.campaigns.c.name == campaign)
        connection.execute(update.values(changed_at=self._when(), **values))
        self._record(connection, kind, {"campaign": campaign, **({} if by is None else {"by": by})})


def check_not_stopped(connection: sql.Connection, campaign: str) -> None:
    """Raise `CampaignStopped` where its run was ended."""
    if _begun(connection, campaign).state == STOPPED:
        raise CampaignStopped(
            f"campaign {campaign!r} was stopped: run it again, and it goes on from the last committed round"
        )


def _begun(connection: sql.Connection, campaign: str) -> sql.Row[Any]:
    row = connection.execute(committed.where(tables.campaigns, name=campaign)).one_or_none()
    if row is None:
        raise CampaignError(f"campaign {campaign!r} was never begun: `fedpath-consortium status` names all")
    return row
