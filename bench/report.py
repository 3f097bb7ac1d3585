"""An auditor's hour, in seconds: `python -m bench.report [--json] [--quick]`.

Exports of 50 hospitals' ledgers, of 500 rounds each (a policy, then four entries a round), are read, verified and recomputed
by two accountants, and drawn as HTML and as PDF. CPU seconds of one core; sizes in MB. All hospitals took part in
every round under one mechanism, as in a campaign: equal histories are computed once.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.command import measuring, options, show
from bench.ledger import life, seconds
from privacy.audit.report import html
from privacy.audit.report.pages import pages
from privacy.audit.report.pdf import render
from privacy.audit.sources import read_source
from privacy.audit.verify import Trusted, audit
from privacy.keys import PrivateKey
from privacy.ledger.entries import written
from privacy.ledger.export import write_export
from privacy.second_accountant import epsilon

HOSPITALS, ROUNDS = 50, 500


def measure(folder: Path, hospitals: int, rounds: int) -> dict[str, dict[str, object]]:
    """Each step, over such books."""
    measuring(f"writing {hospitals} ledgers of {rounds} rounds")
    coordinator = PrivateKey(Ed25519PrivateKey.generate())
    signers = {
        f"hospital-{number:02}": PrivateKey(Ed25519PrivateKey.generate()) for number in range(hospitals)
    }
    for name, key in signers.items():
        entries = life(rounds, key, coordinator, name)
        write_export(folder / f"{name}.export", entries, key, written(datetime.now(UTC)))
    took: dict[str, object] = {}

    measuring("reading")
    paths = sorted(folder.glob("*.export"))
    sources = []
    took["read the exports"] = seconds(lambda: sources.extend(map(read_source, paths)))
    measuring("the audit")
    trusted = Trusted(tuple(key.public for key in signers.values()), (coordinator.public,))
    audits = []
    took["verify, recompute, compare"] = seconds(lambda: audits.append(audit(sources, trusted, epsilon)))
    (audited,) = audits
    measuring("the report")
    documents = []
    took["say it"] = seconds(lambda: documents.append(pages(audited, datetime.now(UTC))))
    (document,) = documents
    drawn = dict[str, bytes]()
    took["draw HTML"] = seconds(lambda: drawn.update(HTML=html.render(document).encode()))
    took["draw PDF"] = seconds(lambda: drawn.update(PDF=render(document)))
    entries_read = sum(len(source.entries) for source in sources)
    return {
        "books": {"entries": entries_read, "findings": len(audited.findings)},
        "CPU seconds": {what: round(float(str(value)), 2) for what, value in took.items()},
        "MB": {
            "exports": round(sum(path.stat().st_size for path in paths) / 1e6, 1),
            **{kind: round(len(data) / 1e6, 1) for kind, data in drawn.items()},
        },
    }


def main() -> None:
    """Measure and print."""
    asked = options(__doc__, quick="5 hospitals and 20 rounds").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = (5, 20) if asked.quick else (HOSPITALS, ROUNDS)
        show(measure(Path(folder), *sizes), asked.json)


if __name__ == "__main__":
    main()
