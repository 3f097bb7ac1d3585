"""What the audit reads of each kind of journal entry: these fields, each of its form; others are let be."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from privacy import canonical
from privacy.forms import Form, count, each, hexadecimal, maybe, table, text, with_fields
from privacy.ledger.entries import read_time
from privacy.plan import is_campaign
from privacy.policy import is_hospital


class Kind(StrEnum):
    """As `server.journal` names them."""

    ENROLMENT = "enrolment"
    HANDOVER = "handover"
    REVOCATION = "revocation"
    ROTATION = "rotation"  # of the journal's own key: the chain's matter
    CAMPAIGN = "campaign"
    ROUND = "round"
    EVALUATION = "evaluation"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    PRUNING = "pruning"
    NOISED = "noised evaluation"  # an evaluation too, by its kind; one with answers, of hospitals


def _time(value: object) -> bool:
    """A time in UTC, to the millisecond."""
    try:
        return isinstance(value, str) and bool(read_time(value))
    except ValueError:
        return False


def _release(value: object) -> bool:
    """64 lower-case hex digits, or nothing."""
    return value == "" or canonical.is_digest(value)


_key = canonical.is_digest

FORMS: Mapping[Kind, Mapping[str, Form]] = {
    Kind.ENROLMENT: {"hospital": is_hospital, "release_key": _key},
    Kind.HANDOVER: {"hospital": is_hospital, "old": _key, "new": _key, "proof": hexadecimal},
    Kind.REVOCATION: {"hospital": is_hospital, "release_key": _key},
    Kind.ROTATION: {"old": _key, "new": _key, "proof": hexadecimal},
    Kind.CAMPAIGN: {
        "definition": with_fields(
            {"name": is_campaign, "stages": each(with_fields({"rounds": count, "mechanism": table}))}
        )
    },
    Kind.ROUND: {
        "campaign": is_campaign,
        "number": count,
        "plan": canonical.is_digest,
        "event": table,
        "opened": _time,
        "verdicts": each(
            with_fields(
                {
                    "hospital": is_hospital,
                    "expert": maybe(text),
                    "fault": maybe(text),
                    "release": _release,
                    "reservation": maybe(canonical.is_digest),
                }
            )
        ),
    },
    Kind.EVALUATION: {"campaign": is_campaign},
    Kind.PAUSE: {"campaign": is_campaign},
    Kind.RESUME: {"campaign": is_campaign},
    Kind.STOP: {"campaign": is_campaign},
    Kind.PRUNING: {"campaign": is_campaign, "through": count},
    Kind.NOISED: {
        "campaign": is_campaign,
        "round": count,
        "request": canonical.is_digest,
        "event": table,
        "opened": _time,
        "answers": each(
            with_fields(
                {
                    "hospital": is_hospital,
                    "fault": maybe(text),
                    "digest": maybe(canonical.is_digest),
                    "reservation": maybe(canonical.is_digest),
                }
            )
        ),
    },
}
