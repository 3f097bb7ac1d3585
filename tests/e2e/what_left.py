"""Everything that an agent answered while it was tapped, and what none of it may hold."""

from __future__ import annotations

import hashlib

from client.home import Home
from privacy import envelope, keys
from privacy.codes import Refusal, SecaggFault
from privacy.egress_record import MASKED
from privacy.ledger.store import Ledger
from tests.e2e.wiretap import Wiretap

_CODES = {code.value.encode() for code in (*Refusal, *SecaggFault)}


def parts_that_left(home: Home, tap: Wiretap) -> list[tuple[str, bytes]]:
    """Each part of each reply; fails where framing, parts or log hold anything of the hospital's own, or the egress log
    is not what left. What a masked sum holds is left to the caller: random words may spell anything.
    """
    parts = [part for reply in tap.replies() for part in envelope.unpack(reply, 1 << 28).items()]
    assert all(value in _CODES for name, value in parts if name == "code")
    stream = tap.answered()
    framing = len(stream) - sum(map(len, tap.replies()))
    assert framing < 1000 * len(tap.taps), "HTTP/2 headers hold more than headers"
    masked = any(name == MASKED for name, _ in parts)
    told = b"".join(value for name, value in parts if name != MASKED) if masked else stream
    for secret in _secrets(home):
        assert secret not in told
    hashes = [hashlib.sha256(value).hexdigest() for _, value in parts]
    ledger = Ledger(home.ledger, keys.load(home.release_key))
    logged = [record.sha256 for _, record in ledger.egress()]
    assert sorted(logged[-len(hashes) :]) == sorted(hashes), "the egress log is what left"
    return parts


def _secrets(home: Home) -> list[bytes]:
    """What must not leave: slide and patient names, planted identifiers, questions, keys, paths."""
    settings = home.settings
    rows = settings.manifest.read_text().splitlines()[1:]
    patients = {row.split(",")[0] for row in rows}
    slides = {path.name for path in settings.slides.iterdir()}
    private = home.release_key.read_text().splitlines()[1]
    words = {
        *patients,
        *slides,
        private,
        str(home.folder),
        str(settings.slides),
        "DOE-",
        "MRN-",
        "SS-",
        "Traceback",
    }
    return [word.encode() for word in words]
