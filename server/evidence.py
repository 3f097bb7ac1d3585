"""Handing over to an auditor what rounds can be recomputed from (`strategies.handed` says how it lies in the folder)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from privacy import durable
from privacy.ledger.entries import Entry
from privacy.ledger.parts import whole
from privacy.progress import Tell, quietly
from server.errors import HomeError, StoreError
from server.journal import Kind
from server.store import Store
from strategies import handed
from strategies.summed import messages_of


def hand_over(store: Store, entries: Sequence[Entry], folder: Path, tell: Tell = quietly) -> Iterator[str]:
    """Write to a new folder every state, memory and kept release that the journal's entries name. Yields what is lost or was
    changed: all else is handed over.

    Raises `HomeError` where the folder holds something, or can't be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HomeError(f"{folder} is there already: name a new folder")
    reads = {handed.STATES: store.state, handed.RELEASES: store.release}
    try:
        for kind, digests in named(entries).items():
            (folder / kind).mkdir(parents=True, mode=0o700)
            for done, digest in enumerate(sorted(digests)):
                tell(f"{kind} handed over", done, len(digests))
                try:
                    data = reads[kind](digest)
                except StoreError as error:
                    yield str(error)
                else:
                    durable.put(handed.place(folder, kind, digest), data)
    except OSError as error:
        raise HomeError(f"{error.filename}: {error.strerror}: name a folder that can be written") from error


def named(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """By kind, the hashes of what the entries name and the consortium keeps."""
    states: set[str] = set()
    releases: dict[tuple[str, int], set[str]] = {}
    for entry in whole(entries):
        body = entry.body
        if entry.kind == Kind.CAMPAIGN:
            states |= set(body["definition"]["initial"].values())
        elif entry.kind == Kind.ROUND:
            states |= set(body["states"].values())
            memories = {found["memory"] for found in body.get("aggregates", {}).values()}
            states |= memories - {None}
            if body.get("kept"):
                accepted = {verdict["release"] for verdict in body["verdicts"] if verdict["fault"] is None}
                releases[body["campaign"], body["number"]] = accepted | messages_of(body)
        elif entry.kind == Kind.PRUNING:
            for campaign, number in list(releases):
                if campaign == body["campaign"] and number <= body["through"]:
                    del releases[campaign, number]
    return {handed.STATES: states, handed.RELEASES: set().union(*releases.values())}
