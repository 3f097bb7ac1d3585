"""What each kind of entry holds: exactly these fields, each of its form.  Anything else is no ledger of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from privacy import canonical
from privacy.codes import Refusal
from privacy.errors import LedgerError
from privacy.ledger.entries import Entry, Kind

Form = Callable[[object], bool]


def check_form(entry: Entry) -> None:
    """Raise `LedgerError` unless the entry is of a known kind and its body has that kind's form."""
    form = _FORMS.get(entry.kind)
    if form is None:
        raise LedgerError(
            f"ledger entry {entry.sequence} is of an unknown kind {entry.kind!r}: update fedpath"
        )
    odd = sorted(set(form) ^ set(entry.body)) or [k for k, holds in form.items() if not holds(entry.body[k])]
    if odd:
        raise LedgerError(
            f"ledger entry {entry.sequence} ({entry.kind}) is malformed at {', '.join(map(repr, odd))}"
        )


def _text(value: object) -> bool:
    return isinstance(value, str)


def _count(value: object) -> bool:
    return type(value) is int and value >= 0


def _key(value: object) -> bool:
    return canonical.is_digest(value)  # 32 bytes in hex, as a SHA-256 is


def _hex(value: object) -> bool:
    return isinstance(value, str) and len(value) % 2 == 0 and set(value) <= set("0123456789abcdef")


def _code(value: object) -> bool:
    return isinstance(value, str) and value in set(Refusal)


def _table(value: object) -> bool:
    return isinstance(value, dict)


def _epsilon(value: object) -> bool:
    return value is None or (type(value) is float and value >= 0)  # None: beyond any bound


def _maybe(form: Form) -> Form:
    return lambda value: value is None or form(value)


def _list(form: Form) -> Form:
    return lambda value: isinstance(value, list) and all(map(form, value))


def _record(fields: Mapping[str, Form]) -> Form:
    return lambda value: (
        isinstance(value, dict)
        and set(value) == set(fields)
        and all(form(value[name]) for name, form in fields.items())
    )


def _sent(value: object) -> bool:
    part = _record({"sha256": canonical.is_digest, "bytes": _count})
    return isinstance(value, dict) and bool(value) and all(map(part, value.values()))


_Fields = Mapping[str, Form]
_FORMS: Mapping[str, _Fields] = {
    Kind.POLICY: {"policy": _table},
    Kind.RESERVATION: {
        "campaign": _text,
        "round": _count,
        "stage": _text,
        "experts": _list(_text),
        "base": canonical.is_digest,
        "plan": canonical.is_digest,
        "policy": canonical.is_digest,
        "code": canonical.is_digest,
        "event": _table,
    },
    Kind.SPEND: {"reservation": canonical.is_digest, "releases": _sent},
    Kind.VOID: {"reservation": canonical.is_digest},
    Kind.RELEASE: {
        "destination": _key,
        "epsilon": _epsilon,
        "parts": _list(_record({"name": _text, "sha256": canonical.is_digest, "bytes": _count})),
    },
    Kind.RECEIPT: {"receipt": _table, "signed": _hex, "coordinator": _key},
    Kind.REFUSAL: {"code": _code, "plan": _maybe(canonical.is_digest)},
    Kind.ROTATION: {"old": _key, "new": _key, "proof": _hex},
    Kind.WITHDRAWAL: {"withdrawn": _count},
    Kind.SELFTEST: {
        "passed": lambda value: isinstance(value, bool),
        "code": canonical.is_digest,
        "findings": _list(_text),
    },
}
