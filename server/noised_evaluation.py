"""Noised evaluation: after a stage, each hospital that offers it counts right and wrong answers of its patients.

The request is `privacy.evaluation.NoisedEvaluation`, signed, with the states of the experts that are on beside it;
the answer is `counts`: `privacy.sealed_counts`. Whoever refuses, is silent or is not there is noted, and stops
nothing. A run that is killed meanwhile asks again, with the same bytes, and gets the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from privacy import canonical
from privacy.errors import ReleaseRefused
from privacy.evaluation import NoisedEvaluation
from privacy.keys import PublicKey
from privacy.sealed_counts import CountsExpectation, SealedCounts, open_counts
from server.campaign import Campaign, EvaluateNoised, request_for
from server.events import NO_ANSWER
from server.exchange import exchange, is_busy, word
from server.records import NoisedAnswer, OpenEvaluation
from server.rounds import Federation
from strategies.flower import read_reply
from strategies.intake import under_any_key

METHOD = "evaluate_noised"
ABSENT = "not-connected"


def evaluate_noised(house: Federation, campaign: Campaign, action: EvaluateNoised) -> None:
    """Ask every training hospital that is here, and commit what they answered. Raises `RoundFailed` where none is."""
    states = house.store.states(campaign.name)
    nodes = house.roll.gather(
        evaluators=False, least=1, seconds=campaign.round_deadline_s, trusted=campaign.code_hashes
    )
    opened = house.store.open_evaluation(request_for(campaign, action, states))
    answers = _ask(house, campaign, opened, nodes)
    for name, hospital in house.store.hospitals().items():
        if not hospital.evaluator and name not in answers:
            why = NO_ANSWER if name in nodes.values() else house.roll.absent.get(name, ABSENT)
            answers[name] = NoisedAnswer(name, why)
    house.store.commit_noised(opened.request, [answers[name] for name in sorted(answers)])


def _ask(
    house: Federation, campaign: Campaign, opened: OpenEvaluation, nodes: Mapping[int, str]
) -> dict[str, NoisedAnswer]:
    keys, request = house.store.release_keys(opened.opened_at), opened.request
    content = _content(house, opened)
    messages = [Message(content, node, MessageType.EVALUATE) for node in nodes]
    answers: dict[str, NoisedAnswer] = {}
    for reply in exchange(house.grid, messages, campaign.round_deadline_s, house.clock, again=is_busy):
        name = nodes.get(reply.metadata.src_node_id)
        if name is not None and name in keys and name not in answers:
            parts = read_reply(reply, METHOD)
            answers[name] = read_answer(name, parts, request, keys[name], campaign.code_hashes)
    return answers


def read_answer(
    hospital: str,
    parts: Mapping[str, bytes],
    request: NoisedEvaluation,
    keys: Sequence[PublicKey],
    code_hashes: frozenset[str] | None,
) -> NoisedAnswer:
    """What a hospital's hostile answer amounts to: counts sealed with one of its own `keys`, or a fault's name."""
    if set(parts) != {"counts"}:
        return NoisedAnswer(hospital, word(parts.get("code", b"bad-reply")))
    data = parts["counts"]

    def opened(key: PublicKey) -> SealedCounts:
        return open_counts(data, CountsExpectation(request, {hospital: key}, code_hashes))

    try:
        return NoisedAnswer(hospital, None, canonical.digest(data), under_any_key(keys, opened))
    except ReleaseRefused as error:
        return NoisedAnswer(hospital, error.code, canonical.digest(data))


def _content(house: Federation, opened: OpenEvaluation) -> RecordDict:
    hashes = opened.request.experts_hash
    record = ConfigRecord({"request": opened.request.to_bytes(), "signature": opened.signature})
    for name, digest in hashes.items():
        record[f"expert/{name}"] = house.store.state(digest)
    return RecordDict({METHOD: record})
