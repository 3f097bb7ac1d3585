"""The hours in which a hospital begins rounds: spans of a week, by the wall clock of one time zone.

    "mon-fri 19:00-07:00"   from seven in the evening of each of these days until seven on the morning after
    "sat-sun 00:00-24:00"   two whole days

A span begins on the days that it names; one that ends at or before its begin ends on the day after. Where the clock is put
back, the hour that comes twice counts twice; where it is put forward, what lies in the hour that is left out does not come.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from privacy.errors import PolicyError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALL_WEEK = "mon-sun 00:00-24:00"
MOST_SPANS = 64
_DAY = 24 * 60
_WEEK = 7 * _DAY  # minutes
_SPAN = re.compile(r"(?P<first>[a-z]{3})(-(?P<last>[a-z]{3}))? (?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_LOOK_AHEAD = 15 * _DAY  # a span may fall into the hour that is left out, once


@dataclass(frozen=True)
class Hours:
    """Spans of a week in a time zone.  Valid by construction: `PolicyError` names the span, or the zone, and the cure."""

    spans: tuple[str, ...]
    zone: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.spans) <= MOST_SPANS:
            raise PolicyError(
                f"hours has {len(self.spans)} spans: give 1 to {MOST_SPANS}, or leave it out for all hours"
            )
        assert self.minutes, "every span lasts a while"
        assert self._zone.key == self.zone

    @cached_property
    def minutes(self) -> frozenset[int]:
        """The open minutes of a week, counted from Monday 00:00 by the wall clock."""
        return frozenset[int]().union(*map(_minutes, self.spans))

    @cached_property
    def _zone(self) -> ZoneInfo:
        return _zone(self.zone)

    def are_open(self, at: datetime) -> bool:
        """Whether the moment lies in a span.  A span's last minute is the one before its end."""
        wall = at.astimezone(self._zone)
        return wall.weekday() * _DAY + wall.hour * 60 + wall.minute in self.minutes

    def open_next(self, at: datetime) -> datetime:
        """The first moment from `at` on at which they are open, in UTC, to the minute after `at`."""
        if self.are_open(at):
            return at.astimezone(UTC)
        minute = at.astimezone(UTC).replace(second=0, microsecond=0)
        for ahead in range(1, _LOOK_AHEAD):
            if self.are_open(then := minute + timedelta(minutes=ahead)):
                return then
        raise PolicyError(f"hours never come in {self.zone}: {', '.join(self.spans)}")


def _minutes(span: str) -> frozenset[int]:
    found = _SPAN.fullmatch(span)
    if found is None or {found["first"], found["last"] or found["first"]} - set(DAYS):
        raise PolicyError(f'hours has {span!r}: write "mon-fri 19:00-07:00", with days {", ".join(DAYS)}')
    begin, end = _minute(span, found["begin"]), _minute(span, found["end"])
    if begin in (end, _DAY):
        raise PolicyError(f"hours has {span!r}: it must last a while: a whole day is 00:00-24:00")
    first, last = DAYS.index(found["first"]), DAYS.index(found["last"] or found["first"])
    days = (last - first) % 7 + 1
    length = (end - begin) % _DAY or _DAY
    starts = ((first + day) * _DAY + begin for day in range(days))
    return frozenset((start + minute) % _WEEK for start in starts for minute in range(length))


def _minute(span: str, clock: str) -> int:
    hour, minute = map(int, clock.split(":"))
    if hour * 60 + minute > _DAY or minute > 59:
        raise PolicyError(f"hours has {span!r}: {clock} is no time of a day, which goes from 00:00 to 24:00")
    return hour * 60 + minute


def _zone(name: object) -> ZoneInfo:
    try:
        if not isinstance(name, str):
            raise ValueError
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise PolicyError(
            f'time_zone = {name!r}: is no zone that this machine knows: write one as "Europe/Berlin", or "UTC"'
        ) from None
