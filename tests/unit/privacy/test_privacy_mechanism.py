"""Mechanisms and events refuse any value under which the accounting would mean nothing."""

from __future__ import annotations

import math

import pytest

from privacy.errors import MechanismError
from privacy.mechanism import Event, Mechanism
from tests.privacy_cases import MECHANISM


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_norm", 0.0),
        ("clip_norm", -1.0),
        ("clip_norm", math.inf),
        ("clip_norm", math.nan),
        ("clip_norm", "1"),
        ("noise_multiplier", -0.1),
        ("noise_multiplier", math.nan),
        ("noise_multiplier", 10**400),
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.5),
        ("sampling_rate", True),
        ("steps", 0),
        ("steps", 1.0),
        ("steps", True),
        ("steps", 1_000_001),
        ("noise_multiplier", 10_001.0),
        ("noise_multiplier", 1e200),
        ("sampling_rate", 9e-7),
        ("sampling_rate", 5e-324),
        ("samples_per_patient", 2**53 + 1),
        ("samples_per_patient", 0),
    ],
)
def test_a_mechanism_without_meaning_is_refused(field: str, value: object) -> None:
    """Catches a parameter that slips through and voids the guarantee later."""
    with pytest.raises(MechanismError, match=field):
        Mechanism.from_dict({**MECHANISM.to_dict(), field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mechanism", "laplace"),
        ("unit", "example"),
        ("adjacency", "replace-one"),
        ("steps", 0),
        ("sampling_rate", 0),
    ],
)
def test_an_event_of_another_kind_is_refused(field: str, value: object) -> None:
    """Catches an event read as something that it is not: example-level epsilon is far below."""
    with pytest.raises(MechanismError, match=field):
        Event.from_dict({**MECHANISM.event().to_dict(), field: value})


def test_events_round_trip_and_refuse_odd_fields() -> None:
    """Catches a ledger entry that loses or gains meaning on the way."""
    event = MECHANISM.event()
    assert Event.from_dict(event.to_dict()) == event
    assert Mechanism.from_dict(MECHANISM.to_dict()) == MECHANISM
    with pytest.raises(MechanismError, match="group_size"):
        Event.from_dict({**event.to_dict(), "group_size": 4})
    with pytest.raises(MechanismError, match="steps"):
        Event.from_dict({"noise_multiplier": 1.0, "sampling_rate": 0.1})
