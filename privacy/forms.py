"""Small predicates on values as JSON gives them, and ways to put them together: what may stand where in a book."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Form = Callable[[object], bool]
_MAY_LACK: set[Form] = set()


def words(form: Form) -> str:
    """What a form takes, as its docstring says it: "a list, each text"."""
    said = re.sub(r"^Whether `\w+` is ", "", form.__doc__ or "").rstrip(".")
    return said[:1].lower() + said[1:]


def text(value: object) -> bool:
    """Text."""
    return isinstance(value, str)


def table(value: object) -> bool:
    """A table."""
    return isinstance(value, dict)


def count(value: object) -> bool:
    """A whole number from 0 to 2^53, which a float still holds exactly."""
    return type(value) is int and 0 <= value <= 2**53


def hexadecimal(value: object) -> bool:
    """Bytes in lower-case hex."""
    return isinstance(value, str) and len(value) % 2 == 0 and set(value) <= set("0123456789abcdef")


def maybe(form: Form) -> Form:
    """Null, or what `form` takes."""
    return _said(lambda value: value is None or form(value), f"Null, or {words(form)}.")


def absent_before(form: Form) -> Form:
    """What `form` takes; entries of earlier versions lack the field."""

    def marked(value: object) -> bool:
        return form(value)

    _MAY_LACK.add(marked)
    return _said(marked, f"{words(form)}; entries of earlier versions lack it.")


def each(form: Form) -> Form:
    """A list of what `form` takes."""
    return _said(
        lambda value: isinstance(value, list) and all(map(form, value)), f"A list, each {words(form)}."
    )


def record(fields: Mapping[str, Form]) -> Form:
    """A table of exactly these fields."""
    return _said(
        lambda value: isinstance(value, dict) and not odd(value, fields), f"A table of {_fields(fields)}."
    )


def with_fields(fields: Mapping[str, Form]) -> Form:
    """A table with these fields, whatever else it has."""
    return _said(
        lambda value: isinstance(value, dict) and not missing(value, fields),
        f"A table with {_fields(fields)}.",
    )


def odd(values: Mapping[str, object], fields: Mapping[str, Form]) -> list[str]:
    """The fields that are missing, unknown, or not of their form."""
    return sorted(set(values) - set(fields)) + missing(values, fields)


def missing(values: Mapping[str, object], fields: Mapping[str, Form]) -> list[str]:
    """The fields that are missing, or not of their form."""
    return [
        name
        for name, form in fields.items()
        if not (form(values[name]) if name in values else form in _MAY_LACK)
    ]


def _said(form: Form, docstring: str) -> Form:
    form.__doc__ = docstring
    return form


def _fields(fields: Mapping[str, Form]) -> str:
    return ", ".join(f"`{name}` ({words(form)})" for name, form in fields.items())
