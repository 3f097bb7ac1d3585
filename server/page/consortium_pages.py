"""The pages of the consortium as a whole: hospitals, privacy, the journal; and the stream that says when something changed."""

from __future__ import annotations

import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pages.live import changes
from privacy.mechanism import Event
from server.journal import export as write_journal
from server.page import reading, reading_all
from server.page.access.guard import still_allowed
from server.page.access.visitor import Visitor
from server.page.answers import drawn, house_of, page_count, page_number
from server.page.views import spending
from server.page.views.entries import about
from server.page.views.traffic import sent_by_hospital, sent_each
from server.page.views.words import meaning, trained
from server.provision.renew import expiries
from server.store import Store

_REFUSED = 100  # refused releases that are shown
_TICK_S = 20.0


def hospitals(request: Request, visitor: Visitor) -> Response:
    """Who is enrolled, when each was last heard of, and what ends when."""
    house, now = house_of(request), datetime.now(UTC)
    store = house.store()
    enrolled = store.hospitals()
    kits = house.kits.of(enrolled)
    return drawn(
        request,
        visitor,
        "hospitals.html",
        hospitals=list(enrolled.values()),
        invited=store.invited(),
        revoked=list(store.revoked().values()),
        kits={name: kit and kit.expiry(name, now) for name, kit in kits.items()},
        contacts=reading_all.contacts(store),
        received=reading_all.received(store),
        sent=sent_by_hospital(reading.sent(store), sent_each(reading.plans(store), store.state_size)),
        refusals=reading_all.refusals(store),
        refused=reading_all.refused(store, _REFUSED),
        expiries=expiries(house.home, now),
        meaning=meaning,
        trained=trained,
        now=now,
    )


def privacy(request: Request, visitor: Visitor) -> Response:
    """Epsilon by hospital against what its kit proposes, and how many rounds that still holds."""
    house = house_of(request)
    store = house.store()
    accepted, plans = reading_all.accepted(store), reading.plans(store)
    histories = spending.histories(accepted, plans, reading_all.asked_for(store))
    training = [hospital.name for hospital in store.hospitals().values() if not hospital.evaluator]
    kits, coming = house.kits.of(training), _coming(store)
    accounts = [
        spending.account(name, histories.get(name, ()), kit.limits if kit else None, coming)
        for name, kit in sorted(kits.items())
    ]
    return drawn(
        request,
        visitor,
        "privacy.html",
        accounts=accounts,
        chart=spending.chart(accounts, histories),
        coming=coming,
        most=spending.COUNTED_TO,
    )


def journal(request: Request, visitor: Visitor) -> Response:
    """The journal's entries, the newest first."""
    page = page_number(request)
    count, rows = reading_all.journal(house_of(request).store(), page)
    told = [(row, about(row["body"])) for row in rows]
    return drawn(
        request, visitor, "journal.html", entries=told, count=count, page=page, pages=page_count(count)
    )


def export(request: Request, visitor: Visitor) -> Response:
    """The whole journal as a file for an auditor: verified first, its head signed."""
    home = house_of(request).home
    file = Path(tempfile.mkdtemp(prefix="fedpath-journal-")) / f"{home.name}-journal.jsonl"
    try:
        write_journal(file, home.store().journal(), home.coordinator(), datetime.now(UTC))
    except BaseException:
        _remove(file)
        raise
    gone = BackgroundTask(_remove, file)
    return FileResponse(file, filename=file.name, media_type="application/x-ndjson", background=gone)


def events(request: Request, visitor: Visitor) -> Response:
    """Says when something changed: in the store, or whether a process runs what is not done. While one does, also every
    `_TICK_S` seconds, for what is told by the clock.
    """
    house = house_of(request)

    def look() -> tuple[object, ...]:
        store = house.store()
        running = [house.home.is_running(name) for name in reading_all.not_done(store)]
        return (*reading_all.mark(store), *running, any(running) and time.monotonic() // _TICK_S)

    return changes(look, still_allowed(request))


def _coming(store: Store) -> Event | None:
    """What the next round spends: that of the newest campaign that is not done, as its last round did; None without one."""
    for row in reading.campaigns(store):
        if row["state"] != "done":
            last = reading.open_round(store, row["name"]) or reading.round_at(
                store, row["name"], row["committed"]
            )
            return None if last is None else spending.event_of(last["plan"])
    return None


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.rmdir(file.parent)
