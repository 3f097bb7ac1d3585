"""Noised evaluations are audited as rounds are: what both sides say of one must agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from privacy import canonical
from privacy.audit.findings import Code
from privacy.audit.sources import Side, read_source
from privacy.egress_record import COUNTS
from privacy.handover import Handover
from privacy.keys import Purpose
from privacy.ledger.entries import Entry
from privacy.sealed_counts import SealedCounts
from server.campaign import EvaluateNoised, NoisedEvaluations, request_for
from server.records import NoisedAnswer
from tests.audit_books import SPRING, Body, World, audited, book, codes, resigned
from tests.privacy_cases import CODE


def _evaluated(folder: Path) -> World:
    """A consortium that asked its hospitals how good the model is, and knows north's second key."""
    world = World.create(folder)
    for number in (1, 2, 3):
        world.round(SPRING, number)
    asked = replace(SPRING, noised_evaluation=NoisedEvaluations(20.0))
    request = request_for(asked, EvaluateNoised("sft", 3), world.store.states("spring"))
    world.store.open_evaluation(request)
    answers = []
    for name, (ledger, key) in world.hospitals.items():
        policy = replace(world.policy(name), minimum_evaluation_noise=10.0)
        paid = ledger.reserve(request, policy, CODE)
        zeros = (0,) * len(request.kinds)
        counts = SealedCounts(
            name, key.public.fingerprint, request.hash, paid.hash, CODE, request.kinds, zeros, zeros,
            request.noise_std, request.event(),
        )  # fmt: skip
        data = key.sign(counts.to_bytes(), Purpose.COUNTS) + counts.to_bytes()
        ledger.spend(paid, {COUNTS: data})
        world.reply(name, {COUNTS: data})
        answers.append(NoisedAnswer(name, None, canonical.digest(data), counts))
    world.store.commit_noised(request, answers)
    old = world.hospitals["north"][1]
    world.rotate("north")
    world.store.replace_key("north", [Handover.make("north", old, world.hospitals["north"][1].public)])
    return world


def test_noised_evaluations_are_compared_as_rounds_are(tmp_path: Path) -> None:
    """Catches an evaluation's charge that is taken for a round's, or counts that nobody paid for and no one misses."""
    world = _evaluated(tmp_path)
    read = {name: read_source(path) for name, path in world.exports().items()}
    found = audited(world, list(read.values()))
    assert found.findings == ()
    assert found.journals[0].enrolled["north"][-1] == world.hospitals["north"][1].public

    def unpaid(entry: Entry, body: Body) -> Body:
        if entry.kind == "evaluation":
            body["answers"][1]["digest"] = "ab" * 32
        return body

    def stolen(entry: Entry, body: Body) -> Body:
        return body | {"proof": "00" * 64} if entry.kind == "handover" else body

    key = world.home.coordinator()
    for change, code in ((unpaid, Code.NOT_PAID), (stolen, Code.BAD_ROTATION)):
        (folder := tmp_path / code).mkdir()
        entries = resigned(read["journal"].entries, key, change)
        rewritten = book("journal", Side.COORDINATOR, entries, key, folder)
        assert codes(audited(world, [read["south"], rewritten])) == {code}


def test_an_evaluation_that_the_coordinator_forgot_is_noted(tmp_path: Path) -> None:
    """Catches noised counts that were paid for, and of which the journal says nothing."""
    world = _evaluated(tmp_path)
    read = {name: read_source(path) for name, path in world.exports().items()}
    key = world.home.coordinator()
    silent = resigned(
        read["journal"].entries, key, lambda entry, body: None if entry.kind == "evaluation" else body
    )
    (tmp_path / "silent").mkdir()
    journal = book("journal", Side.COORDINATOR, silent, key, tmp_path / "silent")
    found = audited(world, [read["north"], read["south"], journal])
    assert found.findings == ()
    assert [note.text for note in found.notes] == [
        "paid for, and not in journal: the evaluation after round 3 of spring"
    ] * 2
