"""The agent against a hostile coordinator and courier: codes, and nothing else, for all that is not right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from client import paid_work
from client.agent import Agent
from client.check import findings
from client.errors import ManifestError
from client.events import Phase
from client.key_rotation import rotate_key
from client.model import adapters
from client.tasks.sample import Sample
from client.withdrawn import add_withdrawn
from privacy import canonical, envelope, keys, tensors
from privacy.code_hash import code_hash
from privacy.codes import Refusal
from privacy.description import Description
from privacy.errors import SignatureInvalid
from privacy.evaluation import Evaluation
from privacy.experts import ExpertForm, same_form
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.ranks import is_b
from privacy.receipt import ACCEPTED, Receipt
from tests.unit.client.conftest import MECHANISM, SFT, Fixed, House, ask, spoilt

MakeHouse = Callable[..., House]


def code(reply: dict[str, bytes]) -> str:
    assert set(reply) == {"code"}
    return reply["code"].decode()


def test_trains_pays_once_and_answers_the_same_round_with_the_same_bytes(house: MakeHouse) -> None:
    """Catches a second release, or a second charge, for a round that is asked twice: also after a restart."""
    place = house()
    first = ask(place.agent(), "train", place.request(place.plan()))
    assert set(first) == {"release/scale/roi", "release/scale/wsi"}
    spent = place.ledger().summary()
    assert (spent.spent, spent.reserved) == (1, 0)
    again = place.agent()
    assert ask(again, "train", place.request(place.plan())) == first
    assert place.ledger().summary().spent == 1
    assert [r.name for _, r in place.ledger().egress()] == [*sorted(first), *sorted(first)]
    other = place.plan(learning_rate=0.02)
    assert code(ask(again, "train", place.request(other))) == Refusal.ROUND_CONFLICT


@dataclass(frozen=True)
class Case:
    """One thing wrong with a request that is else good."""

    name: str
    spoil: Callable[[House], dict[str, bytes]]
    code: Refusal
    policy: str = ""

    def __str__(self) -> str:
        return self.name


def _forged(place: House) -> dict[str, bytes]:
    stranger = keys.generate(place.home.folder / "stranger.key")
    return place.request(place.plan()) | {"signature": place.plan().sign(stranger)}


def _altered(place: House) -> dict[str, bytes]:
    return place.request(place.plan()) | {"plan": place.plan(learning_rate=0.5).to_bytes()}


FEWER_LAYERS = dict.fromkeys(SFT, ExpertForm(2, 4.0, ("q_proj", "v_proj")))


def _with(place: House, **changes: object) -> dict[str, bytes]:
    return place.request(place.plan(**changes))


def _mechanism(place: House, **changes: object) -> dict[str, bytes]:
    return _with(place, mechanism=replace(MECHANISM, **changes))  # type: ignore[arg-type]


def _signed_rubbish(place: House) -> dict[str, bytes]:
    text = b'{"campaign":"spring"}'
    return {"plan": text, "signature": place.coordinator.sign(text, keys.Purpose.PLAN)}


def _receipt_as_plan(place: House) -> dict[str, bytes]:
    request = place.request(place.plan())
    return request | {"signature": place.coordinator.sign(request["plan"], keys.Purpose.RECEIPT)}


def _misshapen(place: House) -> dict[str, bytes]:
    place.states["scale/roi"] = spoilt(place.states["scale/roi"])
    return place.request(place.plan())


def _swapped(place: House) -> dict[str, bytes]:
    request = place.request(place.plan())
    return request | {"expert/scale/roi": place.states["task/vqa"][:-1] + b"x"}


CASES = [
    Case("signed by a stranger", _forged, Refusal.PLAN_UNSIGNED),
    Case("altered after signing", _altered, Refusal.PLAN_UNSIGNED),
    Case("signed for another purpose", _receipt_as_plan, Refusal.PLAN_UNSIGNED),
    Case("signed rubbish", _signed_rubbish, Refusal.PLAN_INVALID),
    Case("no plan", lambda place: {}, Refusal.BAD_REQUEST),
    Case("too little noise", lambda p: _mechanism(p, noise_multiplier=0.4), Refusal.POLICY_NOISE),
    Case("too high a rate", lambda p: _mechanism(p, sampling_rate=0.9), Refusal.POLICY_SAMPLING),
    Case("too many steps", lambda p: _mechanism(p, steps=5), Refusal.POLICY_STEPS),
    Case("too many samples", lambda p: _mechanism(p, samples_per_patient=5), Refusal.POLICY_SAMPLES),
    Case("another campaign", lambda p: _with(p, campaign="winter"), Refusal.CAMPAIGN_NOT_ALLOWED),
    Case("another base", lambda p: _with(p, base_hash="0" * 64), Refusal.BASE_MISMATCH),
    Case("an expert not allowed", lambda p: _only(p, "task/detection"), Refusal.POLICY_EXPERTS),
    Case("another rank", lambda p: _with(p, forms=same_form(SFT, 3, 4.0)), Refusal.EXPERTS_MISMATCH),
    Case("fewer layers", lambda p: _with(p, forms=FEWER_LAYERS), Refusal.EXPERTS_MISMATCH),
    Case("an expert left out", lambda p: _without(p, "expert/scale/wsi"), Refusal.EXPERTS_MISMATCH),
    Case("another expert's bytes", _swapped, Refusal.EXPERTS_MISMATCH),
    Case("a misshapen expert", _misshapen, Refusal.EXPERTS_MISMATCH),
]


def _only(place: House, expert: str) -> dict[str, bytes]:
    hashes = {name: tensors.digest(place.states[name]) for name in (*SFT, expert)}
    grpo = {"stage": "grpo", "rollouts": 2, "max_answer_tokens": 4}
    forms = same_form(hashes, 2, 4.0)
    return _with(place, experts=(expert,), experts_hash=hashes, forms=forms, **grpo)


def _without(place: House, part: str) -> dict[str, bytes]:
    return {name: value for name, value in place.request(place.plan()).items() if name != part}


@pytest.fixture(scope="module")
def shared(shared_house: Callable[..., House]) -> tuple[House, Agent]:
    """One agent for all the refusals: none of them may change it."""
    place = shared_house()
    return place, place.agent()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_request_costs_nothing_and_gets_a_code(case: Case, shared: tuple[House, Agent]) -> None:
    """Catches training, charging or chatting on a request that must be refused."""
    place, agent = shared
    kept = dict(place.states)
    try:
        assert code(ask(agent, "train", case.spoil(place))) == case.code
    finally:
        place.states.update(kept)
    summary = place.ledger().summary()
    assert (summary.spent, summary.reserved, summary.events) == (0, 0, ())


@pytest.mark.parametrize("request_bytes", [b"", b"FPE1", b"\xff" * 100, b"FPE1\xff\xff\xff\xff"])
def test_bytes_that_are_no_message_are_a_bad_request(
    request_bytes: bytes, shared: tuple[House, Agent]
) -> None:
    """Catches a parser that falls over hostile bytes."""
    for method in shared[1].courier_methods.values():
        reply = envelope.unpack(method(request_bytes), 1 << 20)
        assert code(reply) == Refusal.BAD_REQUEST


def test_budget_is_refused_before_training(house: MakeHouse) -> None:
    """Catches a round that is trained and then found too dear."""
    place = house(budget=1.0)
    agent = place.agent()
    assert code(ask(agent, "train", place.request(place.plan()))) == Refusal.BUDGET_EXHAUSTED
    assert agent.progress.snapshot()["phase"] == "idle"
    assert place.ledger().summary().reserved == 0


def test_a_failure_in_training_is_one_word_and_stays_charged(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an exception's text that crosses, and a failure that costs nothing: that a round failed is told outside,
    and asked often enough, at no price, it would tell of whom it failed with.
    """

    def fails(*arguments: object, **named: object) -> None:
        raise RuntimeError("patient DOE-1 lies at /secret")

    place = house()
    agent = place.agent()
    monkeypatch.setattr("client.paid_work.train_round", fails)
    assert code(ask(agent, "train", place.request(place.plan()))) == Refusal.INTERNAL
    summary = place.ledger().summary()
    assert (summary.voided, summary.reserved, summary.spent) == (1, 0, 0)
    assert summary.events == (place.plan().event(),)
    monkeypatch.undo()
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))
    assert place.ledger().summary().events == (place.plan().event(),) * 2


def test_a_round_that_always_fails_ends_with_the_budget(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an oracle without end: a coordinator who makes rounds fail, and learns from each failure."""

    def fails(*arguments: object, **named: object) -> None:
        raise MemoryError

    place = house(budget=4.0)
    agent = place.agent()
    monkeypatch.setattr("client.paid_work.train_round", fails)
    codes = [code(ask(agent, "train", place.request(place.plan()))) for _ in range(12)]
    assert codes[0] == Refusal.INTERNAL
    assert codes[-1] == Refusal.BUDGET_EXHAUSTED


def test_who_withdraws_does_not_show_in_a_code(house: MakeHouse) -> None:
    """Catches a hospital that says "no data" once its last patient has gone: one patient more or less, told for free."""
    place = house()
    agent = place.agent()
    everyone = {sample.patient for sample in agent._data.samples}
    add_withdrawn(place.home.withdrawn, everyone)
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))


def test_a_patient_who_withdrew_in_another_spelling_is_left_out(house: MakeHouse) -> None:
    """Catches a withdrawal that is matched letter by letter."""
    place = house()
    agent = place.agent()
    patient = agent._data.samples[0].patient
    add_withdrawn(place.home.withdrawn, [f"{patient.upper()}\u200b "])
    ask(agent, "train", place.request(place.plan()))
    assert patient not in {sample.patient for sample in agent._data.samples}


def test_a_question_that_holds_the_images_token_is_named_at_the_start(
    house: MakeHouse, data: Path, tmp_path: Path
) -> None:
    """Catches a question that fails only when its patient is drawn, and so tells that it was; one that `check` passes;
    and a message for a log that quotes it."""
    place = house()
    manifest = tmp_path / "manifest.csv"
    text = place.home.settings.manifest.read_text()
    question = place.agent()._data.samples[0].question
    manifest.write_text(text.replace(question, f"{question} <|image_pad|>"))
    settings = place.home.folder / "hospital.toml"
    settings.write_text(settings.read_text().replace(str(place.home.settings.manifest), str(manifest)))
    told = r"column question: \d+ \(row \d[^)]*\): ask it without the base's own token of an image"
    with pytest.raises(ManifestError, match=told) as caught:
        place.agent()
    assert question not in str(caught.value)
    problems = findings(place.home).problems
    assert {problem.code for problem in problems} == {"manifest-question"}
    assert len(problems) == len(caught.value.problems)
    assert "'<|image_pad|>'" in problems[0].what
    policy = place.home.folder / "policy.toml"
    policy.write_text(policy.read_text() + "skip_bad_rows = true\n")
    assert question not in {sample.question for sample in place.agent()._data.samples}
    assert findings(place.home).problems == ()


def test_experts_that_could_not_be_attached_are_attached_anew(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an agent that goes on with experts which a failed attempt has taken off the base: it would train and
    release what the model does not use.
    """
    place = house()
    agent = place.agent()
    first = ask(agent, "train", place.request(place.plan()))
    assert "release/scale/roi" in first

    def fails(*arguments: object) -> None:
        adapters.remove(agent._base.language_model)
        raise MemoryError

    monkeypatch.setattr("client.expert_states.attach", fails)
    other = place.plan(round=2, expert_seed=99)
    assert code(ask(agent, "train", place.request(other))) == Refusal.INTERNAL
    monkeypatch.undo()
    plan = place.plan(round=2)
    assert "release/scale/roi" in ask(agent, "train", place.request(plan))
    assert all(layer.holds("scale/roi") for layer in agent._experts.attached(plan).layers)
    held = {id(module) for module in agent._base.language_model.modules()}
    assert all(id(layer) in held for layer in agent._experts.attached(plan).layers)


def test_a_slide_that_goes_bad_in_mid_campaign_is_skipped(
    house: MakeHouse, data: Path, tmp_path: Path
) -> None:
    """Catches a round that is lost with one slide."""
    shutil.copytree(data / "slides", tmp_path / "slides")
    place = house(slides=tmp_path / "slides")
    agent = place.agent(Fixed(1))
    bad = sorted((tmp_path / "slides").iterdir())[0]
    bad.write_bytes(b"")
    everyone = place.plan(mechanism=Mechanism(1.0, 1.0, 0.8, 4, 4))
    assert "release/scale/roi" in ask(agent, "train", place.request(everyone))
    assert agent.progress.snapshot()["skipped"] == {bad.name: "empty"}


def test_one_training_at_a_time(house: MakeHouse) -> None:
    """Catches two plans in one model."""
    place = house()
    agent = place.agent()
    with agent._working(Phase.TRAINING):
        assert code(ask(agent, "train", place.request(place.plan()))) == Refusal.BUSY


def test_describes_itself_in_public_words_only(shared: tuple[House, Agent]) -> None:
    """Catches a description that depends on data."""
    said = Description.from_bytes(ask(shared[1], "describe", {})["description"])
    assert said.hospital == "north"
    assert said.experts == ("router", "scale/roi", "scale/wsi", "task/classification", "task/vqa")


def test_status_is_for_local_it_only(shared: tuple[House, Agent]) -> None:
    """Catches a status that the courier can ask for."""
    assert "status" not in shared[1].courier_methods
    status = json.loads(shared[1].local_methods["status"](b""))
    assert status["phase"] == "idle"
    assert status["epsilon"] == 0.0


def evaluation(place: House, stage: str) -> dict[str, bytes]:
    names = {"base": (), "sft": SFT}[stage]
    hashes = {name: tensors.digest(place.states[name]) for name in names}
    request = Evaluation(stage, place.base_hash, hashes, same_form(hashes, 2, 4.0), 3).to_bytes()
    return {"request": request} | {f"expert/{name}": place.states[name] for name in names}


def test_private_metrics_never_leave_and_public_ones_do(
    house: MakeHouse, shared: tuple[House, Agent]
) -> None:
    """Catches metrics of private data, and an evaluator that trains or gives no figures."""
    assert code(ask(shared[1], "evaluate", evaluation(shared[0], "base"))) == Refusal.NOT_OFFERED
    public = house(public=True)
    agent = public.agent()
    assert code(ask(agent, "train", public.request(public.plan()))) == Refusal.NOT_OFFERED
    rows = canonical.decode(ask(agent, "evaluate", evaluation(public, "sft"))["metrics"], 1 << 20)
    assert {row["scale"] for row in rows} == {"roi", "wsi"}
    assert set(rows[0]) == {"scale", "task", "metric", "mean", "ci95", "n", "further"}
    assert "balanced accuracy" in {row["metric"] for row in rows if row["further"]}
    page = public.home.evaluation / "sft" / "report.html"  # the pictures stay with the evaluator
    assert "data:image/jpeg" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    spoiled = evaluation(public, "sft") | {"expert/scale/roi": b""}
    assert code(ask(agent, "evaluate", spoiled)) == Refusal.EXPERTS_MISMATCH


def test_keeps_genuine_receipts_and_answers_them_with_nothing(house: MakeHouse) -> None:
    """Catches a forged receipt in the ledger, and anything that leaves in answer to one."""
    place = house()
    agent, plan = place.agent(), place.plan()
    sent = ask(agent, "train", place.request(plan))
    digests = {name.removeprefix("release/"): tensors.digest(data) for name, data in sent.items()}
    paid = place.ledger().paid("spring", 1).hash
    receipt = Receipt("north", "spring", 1, plan.hash, digests, dict.fromkeys(digests, ACCEPTED), paid)
    stranger = keys.generate(place.home.folder / "stranger.key")
    assert code(ask(agent, "receipt", {"receipt": receipt.sign(stranger)})) == Refusal.BAD_REQUEST
    assert ask(agent, "receipt", {"receipt": receipt.sign(place.coordinator)}) == {}
    assert place.ledger().summary().receipts == 1


def test_a_patient_who_withdrew_is_drawn_no_more(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a withdrawal that waits for a restart, or that is forgotten by one; and a name in the ledger."""
    place = house()
    drawn: list[set[str]] = []
    real = paid_work.train_round

    def watched(
        experts: object, trained: object, samples: Sequence[Sample], *others: object, **named: object
    ) -> object:
        drawn.append({sample.patient for sample in samples})
        return real(experts, trained, samples, *others, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("client.paid_work.train_round", watched)
    agent = place.agent()
    ask(agent, "train", place.request(place.plan()))
    leaver, *stayed = sorted(drawn[0])
    add_withdrawn(place.home.withdrawn, [leaver])
    ask(agent, "train", place.request(place.plan(2)))
    ask(place.agent(), "train", place.request(place.plan(3)))
    assert drawn[1:] == [set(stayed), set(stayed)]
    entries = place.ledger().entries()
    assert [entry.body["withdrawn"] for entry in entries if entry.kind == "withdrawal"] == [1]
    assert leaver not in str(entries)


def test_a_round_from_before_a_key_rotation_is_sent_again_as_it_was(house: MakeHouse) -> None:
    """Catches a guard that takes its own older releases for forged ones, and an agent on a stale key."""
    place = house()
    first = ask(place.agent(), "train", place.request(place.plan()))
    new = rotate_key(place.home)
    agent = place.agent()
    assert ask(agent, "train", place.request(place.plan())) == first
    release = ask(agent, "train", place.request(place.plan(2)))["release/scale/roi"]
    for data, key in ((first["release/scale/roi"], None), (release, new)):
        signature, payload = data[4:68], data[68:]
        if key is None:
            with pytest.raises(SignatureInvalid):
                new.verify(signature, payload, keys.Purpose.RELEASE)
        else:
            key.verify(signature, payload, keys.Purpose.RELEASE)


def bounded(house: MakeHouse, max_rank: int) -> House:
    """A hospital that trains so many columns at most, of the plan's two."""
    place = house()
    policy = place.home.folder / "policy.toml"
    policy.write_text(policy.read_text() + f"max_rank = {max_rank}\n")
    return place


def test_what_leaves_has_the_columns_that_the_policy_lets_train(house: MakeHouse) -> None:
    """Catches a bound that the agent reads and does not go by, or goes by after its policy has changed: a round that is
    asked again is sent as it was.
    """
    place = bounded(house, 1)
    first = ask(place.agent(), "train", place.request(place.plan()))
    for name in SFT:
        header = json.loads(tensors.read_metadata(first[f"release/{name}"][68:], 1 << 28))
        whole = {key: list(value.shape) for key, value in tensors.decode(place.states[name], 1 << 28).items()}
        assert {shape[-1] for key, shape in header["shapes"].items() if is_b(key)} == {1}
        assert {key: shape for key, shape in header["shapes"].items() if not is_b(key)} == {
            key: shape for key, shape in whole.items() if not is_b(key)
        }
        assert header["shapes"].keys() == whole.keys()
    policy = place.home.folder / "policy.toml"
    policy.write_text(policy.read_text().replace("max_rank = 1", "max_rank = 2"))
    agent = place.agent()
    assert ask(agent, "train", place.request(place.plan())) == first
    assert len(ask(agent, "train", place.request(place.plan(2)))["release/scale/roi"]) > len(
        first["release/scale/roi"]
    )


def test_more_columns_than_that_never_leave(house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches training that passes the bound by: neither sealed nor sent, and what it cost stays charged."""
    place = bounded(house, 1)
    agent = place.agent()
    train = paid_work.train_round

    def unbound(*arguments: object, max_rank: int | None, **others: object) -> object:
        assert max_rank == 1
        return train(*arguments, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(paid_work, "train_round", unbound)
    assert code(ask(agent, "train", place.request(place.plan()))) == Refusal.INTERNAL
    summary = place.ledger().summary()
    assert (summary.spent, summary.voided) == (0, 1)


def test_an_agent_that_died_in_training_gives_the_round_back_at_its_next_start(house: MakeHouse) -> None:
    """Catches a reservation that is charged for ever, or trained on as if nothing had been."""
    place = house()
    place.ledger().reserve(place.plan(), place.home.policy, code_hash())
    agent = place.agent()
    assert agent.progress.snapshot()["voided_at_start"] == 1
    assert "release/scale/roi" in ask(agent, "train", place.request(place.plan()))


def test_a_changed_policy_is_on_record_from_the_agents_start(house: MakeHouse) -> None:
    """Catches replies, and the epsilon told with them, under a policy that the ledger knows nothing of yet."""
    place = house()
    place.agent()
    place.agent()
    assert [entry.kind for entry in place.ledger().entries()] == ["policy", "upgrade"]
    policy = place.home.folder / "policy.toml"
    policy.write_text(policy.read_text().replace("delta = 1e-5", "delta = 1e-7"))
    place.agent()
    assert place.ledger().entries()[-1].body["policy"]["delta"] == 1e-7


def test_a_plan_is_what_it_was(shared: tuple[House, Agent]) -> None:
    """Catches a fixture that no agent would answer: the good plan is good."""
    assert Plan.from_bytes(shared[0].plan().to_bytes()) == shared[0].plan()


def test_a_plan_that_the_device_does_not_hold_costs_nothing(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a round that is paid for and then ended by the kernel for want of memory."""
    place = house()
    agent = place.agent()
    monkeypatch.setattr("client.training.memory.free_bytes", lambda device, share: 1 << 10)
    assert code(ask(agent, "train", place.request(place.plan()))) == Refusal.DEVICE_MEMORY
    assert place.ledger().summary().events == ()
