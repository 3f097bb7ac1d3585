"""Small predicates on values as JSON gives them, and ways to put them together: what may stand where in a book."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Form = Callable[[object], bool]


def text(value: object) -> bool:
    """Any string."""
    return isinstance(value, str)


def table(value: object) -> bool:
    """Any table."""
    return isinstance(value, dict)


def count(value: object) -> bool:
    """A whole number from 0 to 2**53, which a float still holds exactly."""
    return type(value) is int and 0 <= value <= 2**53


def hexadecimal(value: object) -> bool:
    """Bytes in lower-case hex."""
    return isinstance(value, str) and len(value) % 2 == 0 and set(value) <= set("0123456789abcdef")


def maybe(form: Form) -> Form:
    """Null, or what `form` takes."""
    return lambda value: value is None or form(value)


def each(form: Form) -> Form:
    """A list of what `form` takes."""
    return lambda value: isinstance(value, list) and all(map(form, value))


def record(fields: Mapping[str, Form]) -> Form:
    """A table of exactly these fields."""
    return lambda value: isinstance(value, dict) and not odd(value, fields)


def with_fields(fields: Mapping[str, Form]) -> Form:
    """A table with these fields, whatever else it has."""
    return lambda value: isinstance(value, dict) and not missing(value, fields)


def odd(values: Mapping[str, object], fields: Mapping[str, Form]) -> list[str]:
    """The fields that are missing, unknown, or not of their form."""
    return sorted(set(values) - set(fields)) + missing(values, fields)


def missing(values: Mapping[str, object], fields: Mapping[str, Form]) -> list[str]:
    """The fields that are missing, or not of their form."""
    return [name for name, form in fields.items() if name not in values or not form(values[name])]
