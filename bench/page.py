"""Server time of each of the coordinator's pages: `python -m bench.page [--json] [--quick]`.

Over a store of 50 hospitals and 500 rounds, in one process: from a coordinator's request to the last byte of the answer,
without a network. `first` is with nothing looked up yet (the journal is verified once, at the very first page of all, and
stands apart), `again` the median of those after it. Milliseconds; sizes of the answers in kB.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from starlette.testclient import TestClient

from bench.command import measuring, options, show
from bench.page_store import NAME, fill
from bench.page_timing import AGAIN, timings
from pages.serving import LOOPBACK
from server.page import reading_all
from server.page.access.access import users_of
from server.page.access.roles import Role
from server.page.app import page

HOSPITALS, ROUNDS = 50, 500
_PASSWORD = "nobody else's"
PAGES = (
    "/",
    f"/campaigns/{NAME}",
    f"/campaigns/{NAME}?page=5",
    f"/campaigns/{NAME}/rounds/7",
    f"/campaigns/{NAME}/experts",
    "/experts",
    "/hospitals",
    "/privacy",
    "/journal",
    "/journal/export",
)


def measure(folder: Path, hospitals: int, rounds: int) -> dict[str, dict[str, object]]:
    """Every page over such a store."""
    measuring(f"writing {rounds} rounds of {hospitals} hospitals")
    home = fill(folder, hospitals, rounds)
    users_of(home).add("cora", Role.COORDINATOR, _PASSWORD)
    app = page(home, LOOPBACK, secure=False)
    client = TestClient(app, base_url="http://127.0.0.1:8787", follow_redirects=False)
    client.post("/login", data={"name": "cora", "password": _PASSWORD, "next": "/"})
    found: dict[str, dict[str, object]] = {}

    measuring("opening the store")
    begun = time.perf_counter()
    store = home.store()
    found["opening"] = {"the store, its journal verified": round(1000 * (time.perf_counter() - begun))}
    client.get("/account").raise_for_status()
    found |= timings(client, PAGES)
    marks = []
    for _ in range(AGAIN):
        begun = time.perf_counter()
        reading_all.mark(store)
        marks.append(1000 * (time.perf_counter() - begun))
    found["live"] = {"whether anything changed, once a second": round(statistics.median(marks), 1)}
    return found


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, quick="5 hospitals and 20 rounds")
    asked = parser.parse_args()
    hospitals, rounds = (5, 20) if asked.quick else (HOSPITALS, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        show(measure(Path(folder), hospitals, rounds), asked.json)


if __name__ == "__main__":
    main()
