"""A consortium's store on either database, and the small campaign that the tests of it run."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privacy import tensors
from server.campaign import Campaign, Train, plan_for
from server.home import Home
from server.records import OpenRound
from server.store import Store
from strategies.definition import Stage
from strategies.intake import Aggregated, Verdict
from tests.federation.simulator import BASE
from tests.privacy_cases import MECHANISM

DUMP = (
    Path(__file__).parent / "contract" / "store_before_versions.sql"
)  # made by fedpath before stores had versions
STAGE = Stage("sft", 3, ("scale/roi",), 0.01, MECHANISM)
CAMPAIGN = Campaign("spring", 7, BASE, 2, 4.0, "experts", 1, 60.0, "never", (STAGE,))
NEW = tensors.encode({"x.lora_B": np.ones((6, 2), np.float32), "y.lora_B": np.ones((3, 2), np.float32)})
TRAINED = {"scale/roi": Aggregated(NEW, None, {"too_few": False})}
VERDICTS = [Verdict("north", "scale/roi", None, "ab" * 32, 10, 0.1)]


@dataclass(frozen=True)
class Place:
    """Where a store is: in the folder's home, or in the database of this URL."""

    folder: Path
    url: str | None

    def home(self) -> Home:
        """The home, made where it is not there."""
        folder = self.folder / "home"
        if folder.exists():
            return Home.open(folder)
        return Home.create(folder, "consortium", "127.0.0.1", 19092, self.url)


def opened(store: Store, number: int) -> OpenRound:
    """The round, begun or taken up."""
    return store.open_round(plan_for(CAMPAIGN, Train(number, number, STAGE), store.states("spring")))


def commit(store: Store, number: int) -> None:
    """Begin the round, and make it stand."""
    receipts = {"north": b"receipt %d" % number, "south": b"receipt %d" % number}
    begun = opened(store, number)
    store.commit_round(begun, TRAINED, VERDICTS, receipts, {"wait": 1.0}, keep_releases=False)


def forget_versions(database: sqlite3.Connection) -> None:
    """Make of a store what a fedpath without versions left."""
    made = re.search(r"CREATE TABLE evaluations \(.*?\n\);", DUMP.read_text(), re.DOTALL)
    assert made is not None
    database.execute("DROP TABLE store_version")
    database.execute("ALTER TABLE campaigns DROP COLUMN held_at")
    database.execute("ALTER TABLE hospitals DROP COLUMN named_as")
    database.execute("ALTER TABLE evaluations RENAME TO newer")
    database.execute(made.group())
    columns = "campaign, point, scale, task, metric, mean, low, high, n, further"
    database.execute(f"INSERT INTO evaluations SELECT {columns} FROM newer ORDER BY place")
    database.execute("DROP TABLE newer")


def fresh(folder: Path, url: str | None) -> Place:
    """A home whose store was never opened."""
    home = Home.create(folder / "home", "consortium", "127.0.0.1", 19092)
    for file in home.folder.glob("consortium.db*"):
        file.unlink()
    if url is not None:
        with (home.folder / "consortium.toml").open("a") as file:
            file.write(f'database = "{url}"\n')
    return Place(folder, url)
