"""The consortium's home: one folder, readable by its owner only.

consortium.toml     name, host and port, and where the store is, if not in
consortium.db       the store
keys/               CA, server and coordinator keys      experts/        expert states by hash
keys/database.pgpass  the password of a database that asks for one
ca.crt server.crt   what others check us by              kits/           <name>.json: what each hospital gets
ca-next.crt         a new CA before it is taken up       invitations/    <name>.json: secret, until it is answered
policy.toml         where there is one: the limits that kits propose to hospitals
details.log         what `start` says in free words: privacy/details.py
flower/             FLWR_HOME of SuperLink and CLI, SuperLink's own database
aside/<campaign>/   accepted releases of a round that is not committed yet
releases/           those of committed rounds, by hash, where the campaign keeps them
"""

from __future__ import annotations

import fcntl
import json
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from privacy import durable, keys
from privacy.errors import KeyFileError
from privacy.keys import PrivateKey
from privacy.ledger.postgresql import pgpass_line, with_password_file
from server.aside import Aside
from server.blobs import Blobs
from server.database import Database, Patience
from server.engine import read_url
from server.errors import CampaignBusy, HomeError, StoreError
from server.kept import Kept
from server.provision.authority import make_authority
from server.store import Store
from server.waiting import WaitingNote

FILE = "consortium.toml"
_PGPASS = "keys/database.pgpass"
_FOLDERS = ("keys", "experts", "kits", "invitations", "locks", "flower/superlink", "flower/cli")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_LOCK_S = 2.0


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Home:
    """An open home. `host` is the name or address at which hospitals reach the SuperLink, on `port`; `database` the URL of
    the PostgreSQL database that holds the store, None for a file in the home.
    """

    folder: Path
    name: str
    host: str
    port: int
    database: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise HomeError(f'name = {self.name!r}: use lower-case letters, digits and "-"')
        if not isinstance(self.host, str) or not _HOST.fullmatch(self.host):
            raise HomeError(f"host = {self.host!r}: name a host or an address, without a port")
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 < self.port < 65536:
            raise HomeError(f"port = {self.port!r}: must lie between 1 and 65535")
        if self.database is not None:
            _check_url(self.database)

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str,
        host: str,
        port: int,
        database: str | None = None,
        password: str | None = None,
    ) -> Home:
        """Make a home with fresh keys and certificates; it keeps the database user's `password`. Raises `HomeError` where
        something is there already, in the folder or in the database; `StoreError` where that can't be had.
        """
        home = cls(folder.absolute(), name, host, port, database)
        if folder.exists() and any(folder.iterdir()):
            raise HomeError(f"{folder} is not empty: keys are never overwritten; name a new folder")
        if database is not None and not _is_new(database, password):
            raise HomeError(
                "the database holds a consortium's store already: name a new one, or open that one's home"
            )
        try:
            for path in (folder, *(folder / part for part in _FOLDERS)):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.chmod(0o700)
            (folder / "flower").chmod(0o700)
            if password is not None:
                durable.replace(folder / _PGPASS, pgpass_line(password))
            keys.generate(home.coordinator_key)
            make_authority(home.folder, host, _now())
            home.store()
            text = f'name = "{name}"\nhost = "{host}"\nport = {port}\n'
            text += "" if database is None else f"database = {json.dumps(database)}\n"
            (folder / FILE).write_text(text, "utf-8")
        except (OSError, KeyFileError) as error:
            raise HomeError(f"{folder}: {error}") from error
        return home

    @classmethod
    def open(cls, folder: Path) -> Home:
        """Open a home. Raises `HomeError`, saying what to do."""
        path = folder / FILE
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise HomeError(
                f"{path}: {error.strerror}: make a home with `fedpath-consortium init`"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise HomeError(f"{path}: not TOML: {error}") from error
        if set(values) - {"database"} != {"name", "host", "port"}:
            raise HomeError(
                f"{path}: must have name, host and port, may have database, and nothing else; it has {sorted(values)}"
            )
        return cls(folder.absolute(), **values)

    @property
    def superlink(self) -> str:
        """The address that hospitals connect to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def coordinator_key(self) -> Path:
        """The private key that signs plans, receipts and the journal."""
        return self.folder / "keys" / "coordinator.key"

    @property
    def details(self) -> Path:
        """Where `start` says in free words what its log must not."""
        return self.folder / "details.log"

    def coordinator(self) -> PrivateKey:
        """The coordinator's key. Raises `HomeError`."""
        try:
            return keys.load(self.coordinator_key)
        except KeyFileError as error:
            raise HomeError(str(error)) from error

    def store(self, now: Callable[[], datetime] = _now, patience: Patience | None = None) -> Store:
        """The store of this home; opening it verifies its journal. With `patience` it waits for a database that goes away
        later.
        """
        database = Database(store_place(self.folder, self.database), patience)
        aside = Aside(self.folder / "aside")
        blobs, kept = Blobs(self.folder / "experts"), Kept(self.folder / "releases")
        return Store(database, blobs, aside, kept, self.coordinator(), now)

    @contextmanager
    def only_runner(self, campaign: str) -> Iterator[None]:
        """Be the one process that runs this campaign; the kernel lets go when the process ends, however it
        ends.

        Raises `CampaignBusy`.
        """
        with self._lock_file(campaign) as file:
            end = time.monotonic() + _LOCK_S  # `is_running` holds it for an instant
            while not _try(file, fcntl.LOCK_EX):
                if time.monotonic() > end:
                    raise CampaignBusy(
                        f"campaign {campaign!r} is being run by another process: follow it with `status`"
                    )
                time.sleep(0.05)
            yield

    @contextmanager
    def only_tracker(self, campaign: str) -> Iterator[None]:
        """Be the one process that tells trackers of this campaign. Raises `CampaignBusy`."""
        with (self.folder / "locks" / f"{campaign}.track").open("ab") as file:
            if not _try(file, fcntl.LOCK_EX):
                raise CampaignBusy(f"another `track` follows campaign {campaign!r}: end that one first")
            yield

    def is_running(self, campaign: str) -> bool:
        """Whether some living process runs this campaign."""
        with self._lock_file(campaign) as file:
            return not _try(file, fcntl.LOCK_SH)

    def waiting(self, campaign: str) -> WaitingNote:
        """Whether whoever runs this campaign waits for the database."""
        return WaitingNote(self.folder / "locks" / f"{campaign}.waiting")

    def running(self) -> list[str]:
        """The campaigns that some living process runs; the database is not asked."""
        locks = sorted((self.folder / "locks").glob("*.lock"))
        return [path.stem for path in locks if self.is_running(path.stem)]

    def _lock_file(self, campaign: str) -> IO[bytes]:
        return (self.folder / "locks" / f"{campaign}.lock").open("ab")


def store_place(folder: Path, url: str | None) -> Path | str:
    """The home's file, or the URL with the home's password file (`keys/database.pgpass`) where there is one.

    Raises `HomeError` where others may read that file.
    """
    if url is None:
        return folder / "consortium.db"
    try:
        return with_password_file(url, folder / _PGPASS)
    except PermissionError as error:
        raise HomeError(str(error)) from None


def _is_new(url: str, password: str | None) -> bool:
    """Whether nobody keeps a store there; before there is a home whose password file could be named."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pgpass"
        if password is not None:
            durable.replace(path, pgpass_line(password))
        return Database(with_password_file(url, path)).is_new()


def _check_url(url: object) -> None:
    try:
        if not isinstance(url, str):
            raise StoreError("write it as a text, postgresql://user@host/db")
        read_url(url)
    except StoreError as error:
        raise HomeError(f"database: {error}") from error


def _try(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
