"""A new coordinator's key in the old one's place, so that a crash at any point can be taken up again.

    coordinator-next.key made -> journal handed over -> coordinator.key.pub rewritten -> the new key in the old one's place

Hospitals learn of it when they are next connected (`server.roll`), or by their next kit: the old key's word for the new one
is in the journal. It is for keys that are given up in good order: whoever stole the old one could hand it over as well.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from privacy import durable, keys
from privacy.errors import KeyFileError
from privacy.keys import PrivateKey, PublicKey
from server.errors import CampaignBusy, HomeError, KeyReplaced
from server.home import Home
from server.provision.kits import write_kits


def rotate(home: Home, now: datetime) -> PublicKey:
    """Make and take up a new coordinator's key, or finish a rotation that was cut short; returns the new key.

    All kits are written anew, signed with it. Raises `CampaignBusy` while a campaign runs, `HomeError`.
    """
    waiting = home.coordinator_key.with_name("coordinator-next.key")
    try:
        new = _handed_over(home, waiting, now)
        durable.replace(keys.public_path(home.coordinator_key), new.public.to_pem(), 0o644)
        keys.public_path(waiting).unlink(missing_ok=True)
        waiting.replace(home.coordinator_key)
        durable.sync_folder(home.coordinator_key.parent)
    except (OSError, KeyFileError) as error:
        raise HomeError(f"{waiting}: {error}") from error
    write_kits(home, home.store().hospitals().values(), now)
    return new.public


def _handed_over(home: Home, waiting: Path, now: datetime) -> PrivateKey:
    """The key that holds the journal from now on, in the file `waiting`."""
    try:
        store = home.store(lambda: now)
    except KeyReplaced:  # a crash came after that
        return keys.load(waiting)
    busy = [name for name in store.campaigns() if home.is_running(name)]
    if busy:
        raise CampaignBusy(f"{', '.join(busy)} is running: rotate when it has ended, or was stopped")
    for left_over in (waiting, keys.public_path(waiting)):  # of an attempt that never reached the journal
        left_over.unlink(missing_ok=True)
    new = keys.generate(waiting)
    durable.sync_folder(waiting.parent)  # or a power cut could leave a journal that is handed over to nobody
    store.rotate(home.name, new)
    return new
