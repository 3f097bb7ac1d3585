"""A new release key in the old one's place, so that a crash at any point can be taken up again.

    next.key made -> ledger handed over -> request.json and release.key.pub rewritten -> next.key becomes release.key

The old private key is gone with the last step; its public half stays in the ledger, and verifies what it signed.
"""

from __future__ import annotations

import json

from client.home import Home
from privacy import durable, keys
from privacy.handover import Handover
from privacy.ledger.database import Database
from privacy.ledger.reading import holder
from privacy.ledger.store import Ledger


def rotate_key(home: Home) -> keys.PublicKey:
    """Make and take up a new release key, or finish a rotation that a crash cut short; returns the new key.

    The agent must not run (`Home.only_agent`). request.json holds every handover since the home was made, so the
    coordinator can follow them from whichever key it knows; until it has enrolled that, it refuses this hospital's
    new releases. Raises `HomeError`, `KeyFileError`, `LedgerError`.
    """
    old, waiting = keys.load(home.release_key), home.release_key.with_name("next.key")
    if holder(Database(home.ledger), old.public) == old.public:
        for left_over in (waiting, keys.public_path(waiting)):  # of an attempt that never reached the ledger
            left_over.unlink(missing_ok=True)
        new = keys.generate(waiting)
        # or a power cut could leave a ledger that is handed over to a key that is gone
        durable.sync_folder(waiting.parent)
        Ledger(home.ledger, old).rotate(new)
    else:
        new = keys.load(waiting)
    request = home.folder / "request.json"
    fields = json.loads(request.read_text("utf-8"))
    pem = new.public.to_pem()
    handover = Handover.make(home.settings.name, old, new.public).to_dict()
    handovers = [item for item in fields.get("handovers", []) if item != handover]  # a crash may have left it
    fields |= {"release_key": pem.decode(), "handovers": [*handovers, handover]}
    durable.replace(request, json.dumps(fields, indent=2).encode() + b"\n")
    durable.replace(keys.public_path(home.release_key), pem, 0o644)
    keys.public_path(waiting).unlink(missing_ok=True)
    waiting.replace(home.release_key)
    durable.sync_folder(home.release_key.parent)
    return new.public
