"""Events: what a daemon's log may say, a line each, fit to be shipped to whoever collects logs.

A log goes further than anything else on a machine, and is read by people who may not know what is in it. So what it
can say is closed: an event is a frozen dataclass whose fields have one of the types below, and none of them holds free
text, a path, a patient's key, or a number of patients, slides, samples or draws. What an exception says goes to
`privacy.details`, a file that stays where it is; the event has the number under which it stands there.

Lines go to standard error: JSON, or text where that is a terminal. FEDPATH_LOG=json or text overrules.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar, NewType

ENVIRONMENT = "FEDPATH_LOG"
ELSEWHERE = (
    "FEDPATH_LOG_TO"  # a file instead of standard error, for processes whose standard error goes nowhere
)

Ordinal = NewType("Ordinal", int)  # of a round or an attempt; the plan's numbers of rounds, GPUs
Bytes = NewType("Bytes", int)
Seconds = NewType("Seconds", float)
Status = NewType("Status", int)  # a process' exit status


class Name(str):
    """A campaign's or a hospital's name. Make it of an attribute `campaign`, `hospital` or `name` of a plan, a policy or
    an enrolment, and of nothing else: a test reads every call. Raises `ValueError` for what can't be one.
    """

    __slots__ = ()
    _FORM = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

    def __new__(cls, text: str) -> Name:
        """Check the form."""
        if not cls._FORM.fullmatch(text):
            raise ValueError("not spelled as a campaign's or a hospital's name")
        return super().__new__(cls, text)


class Digest(str):
    """A hash, or the number of an incident, in hex. Raises `ValueError` for anything else."""

    __slots__ = ()
    _FORM = re.compile(r"[0-9a-f]{8,64}")

    def __new__(cls, text: str) -> Digest:
        """Check the form."""
        if not cls._FORM.fullmatch(text):
            raise ValueError("not a hash in hex")
        return super().__new__(cls, text)


class Level(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Event:
    """Something that happened. A subclass' name is its word, its fields what is said of it: `allowed` has their types."""

    level: ClassVar[Level] = Level.INFO

    def __post_init__(self) -> None:
        """Refuse, even where no type checker looked, a text that is of no closed set (`TypeError`)."""
        for name, value in vars(self).items():
            if not isinstance(value, (Name, Digest, StrEnum, int, float, type(None))):
                raise TypeError(f"{type(self).__name__}.{name} must not be a {type(value).__name__}")

    @classmethod
    def word(cls) -> str:
        """`RoundCommitted` is "round-committed"."""
        return re.sub(r"(?<=.)([A-Z])", r"-\1", cls.__name__).lower()


@dataclass(frozen=True)
class Crashed(Event):
    """An exception that nobody caught; `details` has its text under the number `incident`."""

    level = Level.ERROR
    incident: Digest


@dataclass(frozen=True)
class StartRefused(Event):
    """A daemon can't start; `details` says why, and what to do, under the number `incident`."""

    level = Level.ERROR
    incident: Digest


def allowed(kind: object) -> bool:
    """Whether a field of an event may be of this type."""
    closed = {Name, Digest, Ordinal, Bytes, Seconds, Status, bool}
    return kind in closed or (isinstance(kind, type) and issubclass(kind, StrEnum))


def incident() -> Digest:
    """A new number, to find what is told in the log among the details."""
    return Digest(secrets.token_hex(4))


_rehearsing = threading.Event()


@contextmanager
def rehearsal() -> Iterator[None]:
    """Have this process tell no event: what happens is made up, and whoever reads "part-left" would believe it."""
    _rehearsing.set()
    try:
        yield
    finally:
        _rehearsing.clear()


def tell(event: Event) -> None:
    """Write one line to standard error, or to where `ELSEWHERE` says. What can't be written is lost: no round fails for
    its log.
    """
    if _rehearsing.is_set():
        return
    text = line(event, datetime.now(UTC), as_json=wants_json()) + "\n"
    with suppress(OSError, ValueError):  # ValueError: standard error is closed
        if place := os.environ.get(ELSEWHERE):
            with open(place, "a", encoding="utf-8") as file:
                file.write(text)
        else:
            sys.stderr.write(text)
            sys.stderr.flush()


def wants_json() -> bool:
    """As FEDPATH_LOG says; without it, text is for terminals."""
    asked = os.environ.get(ENVIRONMENT)
    return asked == "json" if asked in ("json", "text") else not sys.stderr.isatty()


def line(event: Event, at: datetime, *, as_json: bool) -> str:
    """The event's line, without its end. Fields that are None are left out."""
    when = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    said = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    said = {name: value for name, value in said.items() if value is not None}
    if as_json:
        return json.dumps({"at": when, "level": event.level, "event": event.word(), **said})
    return " ".join([when, event.level, event.word(), *(f"{name}={value}" for name, value in said.items())])
