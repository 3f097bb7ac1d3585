"""Hours of the week, over every zone's clock changes: open is what the wall clock says, and the next opening is the first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from privacy.errors import PolicyError
from privacy.hours import DAYS, Hours

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")
moments = some.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=some.just(UTC))
clocks = some.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


@some.composite
def spans(draw: some.DrawFn) -> str:
    begin, end = draw(clocks), draw(clocks | some.just("24:00"))
    if begin == end:
        end = "24:00"
    first, last = draw(some.sampled_from(DAYS)), draw(some.sampled_from(("", *DAYS)))
    return f"{first}{'-' * bool(last)}{last} {begin}-{end}"


hours = some.builds(Hours, some.lists(spans(), min_size=1, max_size=3).map(tuple), some.sampled_from(ZONES))


@settings(deadline=None)
@given(hours, moments)
def test_the_next_opening_is_open_and_the_first(some_hours: Hours, at: datetime) -> None:
    """Catches an opening that is told an hour off where clocks change, or a day off around midnight."""
    then = some_hours.open_next(at)
    assert then >= at
    assert some_hours.are_open(then)
    if then > at:
        assert not some_hours.are_open(at)
        for back in (timedelta(minutes=1), timedelta(minutes=30), timedelta(hours=3)):
            between = then - back
            assert between < at or not some_hours.are_open(between)


@settings(deadline=None)
@given(spans(), some.sampled_from(ZONES), moments)
def test_open_is_what_the_wall_clock_says(span: str, zone: str, at: datetime) -> None:
    """Catches minutes of the week that are counted in another zone, or that end a minute late."""
    wall = at.astimezone(ZoneInfo(zone))
    days, clock = span.split(" ")
    first, last = (days.split("-") * 2)[:2]
    named = [DAYS[(DAYS.index(first) + n) % 7] for n in range((DAYS.index(last) - DAYS.index(first)) % 7 + 1)]
    begin, end = clock.split("-")
    now = f"{wall:%H:%M}"
    today, yesterday = DAYS[wall.weekday()] in named, DAYS[wall.weekday() - 1] in named
    over_midnight = end < begin
    expected = (today and begin <= now and (over_midnight or now < end)) or (
        over_midnight and yesterday and now < end
    )
    assert Hours((span,), zone).are_open(at) is expected


def berlin(text: str, *spans: str) -> bool:
    return Hours(spans, "Europe/Berlin").are_open(datetime.fromisoformat(text))


def test_midnight_belongs_to_the_day_that_begins() -> None:
    """Catches a span that ends a minute early or late, and Friday's night that is lost on Saturday."""
    nights = ("mon-fri 19:00-07:00",)
    assert not berlin("2026-01-05T18:59:59.999+01:00", *nights)
    assert berlin("2026-01-05T19:00:00+01:00", *nights)
    assert berlin("2026-01-06T00:00:00+01:00", *nights)
    assert berlin("2026-01-10T06:59:59.999+01:00", *nights)  # Saturday morning
    assert not berlin("2026-01-10T07:00:00+01:00", *nights)
    assert not berlin("2026-01-11T23:00:00+01:00", *nights)
    assert berlin("2026-01-11T23:59:59+01:00", "sat-sun 00:00-24:00")
    assert not berlin("2026-01-12T00:00:00+01:00", "sat-sun 00:00-24:00")
    assert berlin("2026-01-12T00:30:00+01:00", "sun 23:00-01:00"), "a week's end goes on at its begin"


def test_the_days_on_which_clocks_change() -> None:
    """Catches hours kept by the sun: on 29 March 2026 Berlin has no 02:30, on 25 October it has two."""
    nights = Hours(("sun 02:00-03:00",), "Europe/Berlin")
    spring = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)  # 01:59
    assert not any(nights.are_open(spring + timedelta(minutes=ahead)) for ahead in range(120))
    assert nights.open_next(spring) == datetime(2026, 4, 5, 0, 0, tzinfo=UTC)
    autumn = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)  # 02:00, the first time
    assert sum(nights.are_open(autumn + timedelta(minutes=ahead)) for ahead in range(180)) == 120


@pytest.mark.parametrize(
    ("spans", "zone", "message"),
    [
        ((), "UTC", "1 to 64"),
        (("mon-fri",), "UTC", "write"),
        (("mon-fry 19:00-07:00",), "UTC", "write"),
        (("mon 7:00-8:00",), "UTC", "write"),
        (("mon 19:00-25:00",), "UTC", "25:00 is no time"),
        (("mon 19:60-20:00",), "UTC", "19:60 is no time"),
        (("mon 24:00-07:00",), "UTC", "last a while"),
        (("mon 07:00-07:00",), "UTC", "last a while"),
        (("mon 07:00-08:00\n",), "UTC", "write"),
        (("mon 07:00-08:00",), "Europe/Bonn", "no zone"),
        (("mon 07:00-08:00",), "../../etc/passwd", "no zone"),
        (("mon 07:00-08:00",), "", "no zone"),
    ],
)
def test_wrong_hours_are_named_with_the_cure(spans: tuple[str, ...], zone: str, message: str) -> None:
    """Catches hours that are silently never, or always."""
    with pytest.raises(PolicyError, match=message):
        Hours(spans, zone)
