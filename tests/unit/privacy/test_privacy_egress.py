"""The egress guard lets through releases, codes, the description, public metrics; nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy import canonical
from privacy.codes import Refusal, SecaggFault
from privacy.description import Description
from privacy.egress import check_reply
from privacy.egress_record import EgressRecord
from privacy.errors import EgressError, WireError
from privacy.keys import PublicKey
from privacy.secagg.messages import Survivors
from privacy.secagg.outgoing import SumExpectation
from tests.privacy_cases import CODE, POLICY, Hospital, hospital, round_of
from tests.secagg_cases import key_of, session_of

LIMIT = 100_000
TO = PublicKey(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))  # RFC 8032
DESCRIPTION = Description.of(POLICY, CODE).to_bytes()
METRICS = canonical.encode({"accuracy": 0.5})


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return hospital(tmp_path_factory.mktemp("north"))


@pytest.fixture(scope="module")
def reply(north: Hospital) -> dict[str, bytes]:
    return {f"release/{expert}": data for expert, data in north.releases().items()}


def test_releases_pass_and_are_logged(north: Hospital, reply: dict[str, bytes]) -> None:
    """Catches a log that misses a byte that left, or its price."""
    records = check_reply(
        reply, POLICY, limit=LIMIT, epsilon=1.5, destination=TO, expected=north.expectation()
    )
    assert records == tuple(
        EgressRecord(name, canonical.digest(data), len(data), 1.5, TO.raw.hex())
        for name, data in sorted(reply.items())
    )
    ledger = north.ledger()
    ledger.log_egress(records)
    assert [record for _, record in ledger.egress()] == list(records)


@pytest.mark.parametrize("code", list(Refusal))
def test_every_code_passes(code: Refusal) -> None:
    """Catches a refusal that could not be told."""
    assert check_reply({"code": code.value.encode()}, POLICY, limit=LIMIT, epsilon=0.0, destination=TO)


def test_description_and_public_metrics_pass_where_they_may() -> None:
    """Catches an evaluator that can't report, or a hospital that can't name itself."""
    assert check_reply(
        {"description": DESCRIPTION},
        POLICY,
        limit=LIMIT,
        epsilon=0.0,
        destination=TO,
        description=DESCRIPTION,
    )
    assert check_reply(
        {"metrics": METRICS}, replace(POLICY, public_data=True), limit=LIMIT, epsilon=0.0, destination=TO
    )


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"code": b"slide 17 is unreadable"},
        {"code": b"busy "},
        {"code": b"\xff"},
        {"code": b"busy", "loss": b"0.7"},
        {"loss": b"0.7"},
        {"metrics": METRICS},
        {"description": DESCRIPTION},
        {"log": b"Traceback (most recent call last): /data/slides/patient-17.svs"},
        {"release/scale/roi": b"FPR1 but only so"},
        {"release/scale/roi": b"\x80\x04pickle"},
    ],
    ids=lambda bad: ",".join(bad) or "nothing",
)
def test_anything_else_stays(north: Hospital, bad: dict[str, bytes]) -> None:
    """Catches losses, counts, texts and metrics of private data on their way out."""
    with pytest.raises(EgressError):
        check_reply(bad, POLICY, limit=LIMIT, epsilon=0.0, destination=TO, expected=north.expectation())


def test_releases_stay_unless_they_answer_the_plan(north: Hospital, reply: dict[str, bytes]) -> None:
    """Catches a release without a plan, under another expert's name, of another round, or with company."""
    name, data = next(iter(reply.items()))
    cases = [
        ({name: data}, None),
        ({"release/scale/wsi": reply["release/scale/roi"]}, north.expectation()),
        ({"release/task/vqa": data}, north.expectation()),
        ({name: data}, north.expectation(round_of(2))),
        ({name: data, "code": b"busy"}, north.expectation()),
        ({**reply, "patients": b"31"}, north.expectation()),
    ]
    for bad, expected in cases:
        with pytest.raises(EgressError):
            check_reply(bad, POLICY, limit=LIMIT, epsilon=0.0, destination=TO, expected=expected)


def test_another_description_and_malformed_metrics_stay() -> None:
    """Catches a description with something private added, and metrics that are no canonical JSON."""
    with pytest.raises(EgressError):
        check_reply(
            {"description": DESCRIPTION + b" "},
            POLICY,
            limit=LIMIT,
            epsilon=0.0,
            destination=TO,
            description=DESCRIPTION,
        )
    with pytest.raises(EgressError):
        check_reply(
            {"metrics": b"{} "}, replace(POLICY, public_data=True), limit=LIMIT, epsilon=0.0, destination=TO
        )


def test_a_reply_over_the_limit_stays(north: Hospital, reply: dict[str, bytes]) -> None:
    """Catches a flood."""
    size = sum(map(len, reply.values()))
    check_reply(reply, POLICY, limit=size, epsilon=0.0, destination=TO, expected=north.expectation())
    with pytest.raises(EgressError, match="over the limit"):
        check_reply(reply, POLICY, limit=size - 1, epsilon=0.0, destination=TO, expected=north.expectation())


@pytest.mark.parametrize(
    "changes",
    [{"experts": ["task/grading"]}, {"code_hash": "x"}, {"hospital": 3}, {"public_data": "no"}, {"more": 1}],
)
def test_a_malformed_description_is_refused(changes: dict[str, object]) -> None:
    """Catches the coordinator trusting what a hostile hospital says of itself."""
    assert Description.from_bytes(DESCRIPTION) == Description.of(POLICY, CODE)
    fields = canonical.decode(DESCRIPTION, 4096)
    with pytest.raises(WireError):
        Description.from_bytes(canonical.encode({**fields, **changes}))


@pytest.mark.parametrize("code", list(SecaggFault))
def test_every_code_of_secure_aggregation_passes(code: SecaggFault) -> None:
    """Catches a refusal of a step that could not be told."""
    assert check_reply({"code": code.value.encode()}, POLICY, limit=LIMIT, epsilon=0.0, destination=TO)


def test_a_message_of_secure_aggregation_passes_for_its_own_step_only() -> None:
    """Catches a second door: another hospital's message, another step's or session's, or one that nobody asked for."""
    session = session_of(5)
    (me, other, *_) = session.roll
    statement = Survivors(me, canonical.digest(b"view"), tuple(session.roll)).sign(session, key_of(me))
    theirs = Survivors(other, canonical.digest(b"view"), tuple(session.roll)).sign(session, key_of(other))

    def passes(reply: dict[str, bytes], expected: SumExpectation | None) -> bool:
        try:
            check_reply(reply, POLICY, limit=LIMIT, epsilon=0.0, destination=TO, expected=expected)
        except EgressError:
            return False
        return True

    right = SumExpectation(session, me, "agree")
    assert passes({"survivors": statement}, right)
    assert not passes({"survivors": statement}, None)
    assert not passes({"survivors": theirs}, right)
    assert not passes({"survivors": statement + b"x"}, right)
    assert not passes({"survivors": statement, "advert": statement}, right)
    assert not passes({"opening": statement}, right)
    assert not passes({"survivors": statement}, SumExpectation(session, me, "reveal"))
    assert not passes({"survivors": statement}, SumExpectation(session_of(5, round=8), me, "agree"))
