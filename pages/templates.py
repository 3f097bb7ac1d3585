"""Templates of a page: the shared layout and the caller's own, all of them escaping whatever they are given."""

from __future__ import annotations

from datetime import UTC, datetime

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from privacy.printable import printable

_NONE = "\N{EN DASH}"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def templates(package: str) -> Environment:
    """The templates in `package`'s folder `templates`, with `layout.html` and `parts.html` of this one.

    Guarantee: text is made printable and escaped, whoever wrote it, but for what its maker declared to be `Markup`; a value
    that a template misses is an error, never a gap.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates"), PackageLoader("pages", "templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "when": when,
        "ago": ago,
        "size": size,
        "seconds": seconds,
        "short": short,
        "commands": commands,
    }
    return environment


def _plain(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def commands(text: str) -> Markup:
    """Words with commands in them, which stand between backticks: as code on the page."""
    parts = (escape(printable(part)) for part in text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def when(at: str | None) -> str:
    """An ISO time as a person reads it, to the minute and in UTC; a dash for none."""
    if at is None:
        return _NONE
    return f"{datetime.fromisoformat(at).astimezone(UTC):%d %b %Y, %H:%M} UTC"


def ago(at: str | None, now: datetime) -> str:
    """How long ago an ISO time was, in its largest unit; a dash for none."""
    if at is None:
        return _NONE
    past = (now - datetime.fromisoformat(at)).total_seconds()
    return "just now" if past < 1 else f"{seconds(past)} ago"


def seconds(value: float | None) -> str:
    """A duration in its two largest units: "4 min 12 s"; a dash for none."""
    if value is None:
        return _NONE
    left = max(0, round(value))
    found: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not found):
            found.append(f"{count} {unit}")
    return " ".join(found[:2])


def size(count: int | None) -> str:
    """Bytes in decimal units, to three digits; a dash for none."""
    if count is None:
        return _NONE
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def short(hexadecimal: str | None) -> str:
    """The first twelve letters of a hash; a dash for none."""
    return _NONE if not hexadecimal else hexadecimal[:12]
