"""The catalogue: what is known of a hospital's slides, kept in one SQLite file of this user's alone (0600).

It holds file names, because the files must be found again; file names may name people, so it stays in the home. Of what
stands inside a slide it holds numbers, words of closed sets and hashes; patients stand in it under pseudonyms. All of it
can be found again from the slides: a catalogue that is damaged, or of another form, is made anew.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

from client.errors import ClientError
from client.slides.examine import Facts
from client.slides.quality import Quality
from privacy.read_only import parameters

_FORM = 1  # of the table; another one is made anew
_WAIT_S = 60.0  # for another process that writes
_COLUMNS = (
    "name", "key", "size", "modified", "stamp", "reader", "gone", "reason", "facts", "content", "quality", "flaw",
    "patient",
)  # fmt: skip
_TABLE = f"CREATE TABLE IF NOT EXISTS slides ({', '.join(_COLUMNS)}, PRIMARY KEY (name)) WITHOUT ROWID"


class CatalogueError(ClientError):
    """The catalogue can't be read or written; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """What is known of one slide.

    `name` is its path inside the slide folder, `key` its pseudonym. It was as `stamp` says when `reader`, a version of
    the reading code, looked at it, and either it can serve (`facts`) or not (`reason`, a SlideError's). `content` is the
    hash of all its bytes, where that was needed. `quality` was measured, or could not be for the reason `flaw`.
    `patient` is a pseudonym, None where nobody has said whose it is. A slide that is `gone` was there once.
    """

    name: str
    key: str
    size: int
    modified: int
    stamp: str
    reader: str
    gone: bool = False
    reason: str = ""
    facts: Facts | None = None
    content: str = ""
    quality: Quality | None = None
    flaw: str = ""
    patient: str | None = None


class Catalogue:
    """The entries of one slide folder. One thread uses it; other processes may use the same file, and what they write
    meanwhile is seen when it is opened again.
    """

    def __init__(self, path: Path | None, connection: sqlite3.Connection) -> None:
        self._path, self._connection = path, connection
        with _told(path):
            rows = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM slides").fetchall()  # noqa: S608
            entries = [_entry(dict(zip(_COLUMNS, row, strict=True))) for row in rows]
        self._entries = {entry.name: entry for entry in entries}

    def entries(self) -> dict[str, Entry]:
        """All entries by name, in the order of their names' code points."""
        return dict(sorted(self._entries.items()))

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep entries, each in the place of what stood under its name. Whatever dies afterwards, they are kept.

        Raises CatalogueError.
        """
        new = {entry.name: entry for entry in entries}
        if not new:
            return
        marks = ", ".join("?" * len(_COLUMNS))
        with _told(self._path), self._connection:
            rows = map(_row, new.values())
            self._connection.executemany(f"INSERT OR REPLACE INTO slides VALUES ({marks})", rows)  # noqa: S608
        self._entries |= new

    def forget(self, names: Iterable[str]) -> None:
        """Drop entries. Raises CatalogueError."""
        gone = [(name,) for name in names]
        with _told(self._path), self._connection:
            self._connection.executemany("DELETE FROM slides WHERE name = ?", gone)
        for (name,) in gone:
            self._entries.pop(name, None)


@contextmanager
def open_catalogue(path: Path | None) -> Iterator[Catalogue]:
    """The catalogue in `path`, made where there is none; None: one that is kept nowhere. Raises CatalogueError."""
    with _told(path):
        connection = sqlite3.connect(":memory:") if path is None else _connect(path)
        connection.execute(_TABLE)
    with closing(connection):
        yield Catalogue(path, connection)


def read_entries(path: Path) -> dict[str, Entry]:
    """What a catalogue holds, by name, read while another process may write it; nothing where there is none.

    Nothing is written, made or mended. Raises CatalogueError.
    """
    if not path.exists():
        return {}
    uri = f"{path.absolute().as_uri()}?{urlencode(parameters(path))}"
    with _told(path), closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S)) as connection:
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        if form != _FORM:
            raise ValueError("another form")
        return Catalogue(path, connection).entries()


@contextmanager
def _told(path: Path | None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        raise CatalogueError(
            f"{path}: the catalogue can't be used ({type(error).__name__}): check the folder, the disk and who runs this; "
            "deleted, it is made anew"
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    for _ in range(2):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        path.chmod(0o600)
        connection = sqlite3.connect(path, timeout=_WAIT_S)
        try:
            if _is_ours(connection):
                return connection
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
        connection.close()
        for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            file.unlink(missing_ok=True)
    raise CatalogueError(f"{path}: no catalogue can be made there: check the disk")


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Stamp an empty file; whether the file's form is this code's and its pages are whole."""
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    with connection:
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables == 0:
            connection.execute(f"PRAGMA user_version = {(form := _FORM)}")
    (whole,) = connection.execute("PRAGMA quick_check").fetchone()
    return bool(form == _FORM and whole == "ok")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """What is committed outlives the process, without a sync each. SQLite waits for nobody while it changes the journal
    of a new file, so that two who make one at once have to try again.
    """
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def _row(entry: Entry) -> tuple[object, ...]:
    values = asdict(entry)
    for name in ("facts", "quality"):
        values[name] = None if values[name] is None else json.dumps(values[name])
    return tuple(values[name] for name in _COLUMNS)


def _entry(row: Mapping[str, object]) -> Entry:
    values = dict(row)
    values["gone"] = bool(values["gone"])
    values["facts"] = None if row["facts"] is None else facts_of(json.loads(str(row["facts"])))
    values["quality"] = None if row["quality"] is None else Quality(**json.loads(str(row["quality"])))
    return Entry(**values)  # type: ignore[arg-type]


def facts_of(values: Mapping[str, object]) -> Facts:
    """`Facts` from its JSON object."""
    return Facts(**{**values, "downsamples": tuple(values["downsamples"])})  # type: ignore[arg-type]
