"""What each kind of entry holds: exactly these fields, each of its form.  Anything else is no ledger of ours."""

from __future__ import annotations

from collections.abc import Mapping

from privacy import canonical
from privacy.codes import Refusal, SecaggFault
from privacy.errors import LedgerError
from privacy.evaluation import EVALUATION
from privacy.experts import EXPERTS, TRAINED_IN
from privacy.forms import Form, absent_before, count, each, hexadecimal, maybe, odd, record, table, text
from privacy.ledger.entries import Entry, Kind
from privacy.plan import is_campaign
from privacy.policy import is_hospital


def check_form(entry: Entry) -> None:
    """Raise `LedgerError` unless the entry is of a known kind and its body has that kind's form."""
    form = FORMS.get(entry.kind)
    if form is None:
        raise LedgerError(
            f"ledger entry {entry.sequence} is of an unknown kind {entry.kind!r}: update fedpath"
        )
    if wrong := odd(entry.body, form):
        raise LedgerError(
            f"ledger entry {entry.sequence} ({entry.kind}) is malformed at {', '.join(map(repr, wrong))}"
        )


def _code(value: object) -> bool:
    """A refusal's code."""
    return isinstance(value, str) and (value in set(Refusal) or value in set(SecaggFault))


def _stage(value: object) -> bool:
    """A stage's kind, or an evaluation."""
    return value in (*TRAINED_IN, EVALUATION)


def _expert(value: object) -> bool:
    """An expert's name."""
    return isinstance(value, str) and value in EXPERTS


def _epsilon(value: object) -> bool:
    """A number from 0, or null beyond any bound."""
    return value is None or (type(value) is float and value >= 0)  # None: beyond any bound


def _sent(value: object) -> bool:
    """A table of `sha256` and `bytes` by the part's name, at least one."""
    part = record({"sha256": canonical.is_digest, "bytes": count})
    return isinstance(value, dict) and bool(value) and all(map(part, value.values()))


def _flag(value: object) -> bool:
    """True or false."""
    return isinstance(value, bool)


_installation = record(
    {"code": canonical.is_digest, "version": maybe(text)}
)  # None: of an older ledger, unsaid

_key = canonical.is_digest  # 32 bytes in hex, as a SHA-256 is

FORMS: Mapping[str, Mapping[str, Form]] = {
    Kind.POLICY: {"policy": table},
    Kind.RESERVATION: {
        "campaign": is_campaign,
        "round": count,
        "stage": _stage,
        "experts": each(_expert),
        "base": canonical.is_digest,
        "plan": canonical.is_digest,
        "policy": canonical.is_digest,
        "code": canonical.is_digest,
        "event": table,
    },
    Kind.SPEND: {"reservation": canonical.is_digest, "releases": _sent},
    Kind.VOID: {"reservation": canonical.is_digest},
    Kind.RELEASE: {
        "destination": _key,
        "epsilon": _epsilon,
        "parts": each(record({"name": text, "sha256": canonical.is_digest, "bytes": count})),
    },
    Kind.RECEIPT: {"receipt": table, "signed": hexadecimal, "coordinator": _key},
    Kind.REFUSAL: {"code": _code, "plan": maybe(canonical.is_digest)},
    Kind.ROTATION: {"old": _key, "new": _key, "proof": hexadecimal},
    Kind.SUCCESSION: {"consortium": is_hospital, "old": _key, "new": _key, "proof": hexadecimal},
    Kind.WITHDRAWAL: {"withdrawn": count, "salt": canonical.is_digest},
    Kind.SELFTEST: {
        "passed": _flag,
        "code": canonical.is_digest,
        "findings": each(text),
        "bound": absent_before(maybe(record({"lower": _epsilon, "claimed": _epsilon}))),
    },
    Kind.APPROVAL: {"campaign": is_campaign, "approved": _flag},
    Kind.UPGRADE: {"before": maybe(_installation), "after": _installation},
}
