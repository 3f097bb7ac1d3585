"""A new release key in the old one's place, so that a crash at any point can be taken up again.

    next.key made -> ledger handed over -> request.json and release.key.pub rewritten -> next.key becomes release.key

The old private key is gone with the last step; its public half stays in the ledger, and verifies what it signed.
"""

from __future__ import annotations

from client.home import Home
from client.request_file import handovers, is_invited, write_request
from privacy import durable, keys
from privacy.handover import Handover
from privacy.ledger.database import Database
from privacy.ledger.reading import holder
from privacy.ledger.store import Ledger


def rotate_key(home: Home) -> keys.PublicKey:
    """Make and take up a new release key, or finish a rotation that a crash cut short; returns the new key.

    The agent must not run (`Home.only_agent`). Where the hospital was invited, request.json is made anew, with every
    handover since its first one, so the coordinator can follow them from whichever key it knows; until it has approved
    that, it refuses this hospital's new releases. Raises `HomeError`, `KeyFileError`, `LedgerError`.
    """
    before = handovers(home)
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
    handover = Handover.make(home.settings.name, old, new.public)
    if is_invited(home):
        write_request(
            home, new, [*(h for h in before if h != handover), handover]
        )  # a crash may have left it
    durable.replace(keys.public_path(home.release_key), new.public.to_pem(), 0o644)
    keys.public_path(waiting).unlink(missing_ok=True)
    waiting.replace(home.release_key)
    durable.sync_folder(home.release_key.parent)
    return new.public
