"""Campaigns as they are kept: begun under which definition, where each stands, and its experts' states by hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sql

from privacy import canonical
from privacy.events import Name, tell
from server import committed, noised_record, tables
from server.blobs import Blobs
from server.campaign import Campaign, Progress, definition_hash
from server.errors import CampaignChanged
from server.events import CampaignDone, CampaignFailed
from server.journal import MAX_BODY, Kind
from server.records import RunState
from server.stored import Stored
from server.stored_steering import STOPPED


class StoredCampaigns(Stored):
    """Beginning a campaign is an entry of the journal; what it does at the moment is for eyes only."""

    _blobs: Blobs

    def begin(self, campaign: Campaign, initial: Mapping[str, bytes], run_id: str) -> None:
        """Start the campaign, or take it up again where it stands.

        Raises `CampaignChanged` where the name was begun under another definition.
        """
        states = {name: self._blobs.put(data) for name, data in initial.items()}
        definition = campaign.defined(states).to_dict()
        with self._database.transaction() as connection:
            row = connection.execute(committed.where(tables.campaigns, name=campaign.name)).one_or_none()
            if row is None:
                new = {
                    "name": campaign.name,
                    "definition": canonical.encode(definition),
                    "rounds": campaign.rounds,
                    "begun_at": self._when(),
                }
                connection.execute(tables.campaigns.insert(), [{**new, **self._running(run_id)}])
                first = {
                    "campaign": campaign.name,
                    "number": 0,
                    "stage": "start",
                    "plan": b"",
                    "signature": b"",
                    "opened_at": self._when(),
                    "attempts": 0,
                    "committed_at": self._when(),
                    "states": states,
                    "seconds": {},
                }
                connection.execute(tables.rounds.insert(), [first])
                self._record(connection, Kind.CAMPAIGN, {"definition": definition})
                return
            _check_definition(campaign.name, row.definition, definition)
            update = tables.campaigns.update().where(tables.campaigns.c.name == campaign.name)
            connection.execute(update.values(**self._running(run_id)))

    def doing(self, campaign: str, what: str) -> None:
        """Say what the campaign does now."""
        self._set(campaign, state="running", doing=what)

    def paused(self, campaign: str) -> None:
        """The campaign waits, as it was asked to."""
        self._set(campaign, state="paused", doing="paused: `resume` lets it go on")

    def finished(self, campaign: str) -> None:
        """The campaign is done."""
        self._set(campaign, state="done", doing="done")
        tell(CampaignDone(Name(campaign)))

    def failed(self, campaign: str, why: str) -> None:
        """This run of the campaign ended early; another may take it up."""
        self._set(campaign, state="failed", failure=why)
        tell(CampaignFailed(Name(campaign)))

    def progress(self, campaign: str) -> Progress:
        """What is committed."""
        with self._database.transaction() as connection:
            points = connection.scalars(
                sql.select(tables.evaluations.c.point)
                .where(tables.evaluations.c.campaign == campaign)
                .distinct()
            )
            noised = noised_record.points(connection, campaign)
            return Progress(committed.last(connection, campaign).number, frozenset(points), noised)

    def run_state(self, campaign: str) -> RunState | None:
        """Where it stands; None where it never began."""
        with self._database.transaction() as connection:
            row = connection.execute(committed.where(tables.campaigns, name=campaign)).one_or_none()
            if row is None:
                return None
            last = committed.last(connection, campaign)
            return RunState(
                row.state, row.run_id, row.doing, row.failure, row.rounds, last.number, last.states
            )

    def campaigns(self) -> list[str]:
        """Every campaign that was begun, in order."""
        with self._database.transaction() as connection:
            return list(connection.scalars(sql.select(tables.campaigns.c.name).order_by("begun_at")))

    def states(self, campaign: str, number: int | None = None) -> dict[str, str]:
        """The hash of every expert's state after round `number` (0: the start); None: the last one committed.

        Raises `StoreError` where that round is not committed.
        """
        with self._database.transaction() as connection:
            if number is None:
                return dict(committed.last(connection, campaign).states)
            return committed.states_after(connection, campaign, number)

    def check_definition(self, campaign: Campaign) -> None:
        """Raise `CampaignChanged` where the campaign was begun under another definition, `StoreError` if never."""
        with self._database.transaction() as connection:
            definition = campaign.defined(committed.states_after(connection, campaign.name, 0)).to_dict()
            row = connection.execute(committed.where(tables.campaigns, name=campaign.name)).one()
            _check_definition(campaign.name, row.definition, definition)

    def state(self, digest: str) -> bytes:
        """The bytes of an expert's state."""
        return self._blobs.get(digest)

    def state_size(self, digest: str) -> int | None:
        """How many bytes an expert's state has; None where it is lost."""
        return self._blobs.size(digest)

    def _set(self, campaign: str, **values: str) -> None:
        table = tables.campaigns
        this = (table.c.name == campaign) & (
            table.c.state != STOPPED
        )  # what a stopped run still says of itself is void
        with self._database.transaction() as connection:
            connection.execute(table.update().where(this).values(changed_at=self._when(), **values))

    def _running(self, run_id: str) -> dict[str, str | None]:
        return {
            "state": "running",
            "run_id": run_id,
            "changed_at": self._when(),
            "doing": "starting",
            "failure": None,
        }


def _check_definition(name: str, begun: bytes, definition: Mapping[str, Any]) -> None:
    if begun != canonical.encode(definition):
        before = definition_hash(canonical.decode(begun, MAX_BODY))
        raise CampaignChanged(
            f"campaign {name!r} was begun under another definition ({before[:12]}, not "
            f"{definition_hash(definition)[:12]}): restore that file, or give this one another name"
        )
