"""Several experts of unlike forms at once, each as far as its request's gate says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from client.model.adapters import AdapterLinear
from client.model.base import Base
from client.model.errors import ExpertError
from client.model.expert_linear import ExpertLinear
from client.model.experts import Experts, attach
from client.model.forward import Query, answer_logprobs, read
from client.model.gates import Gates
from client.model.patient_gradients import GradientTape, recording
from client.model.visual import Visual
from client.training.rollout import greedy
from privacy.experts import EXPERTS, LAYERS, ExpertForm
from tests.model_cases import norm, randomise

ROOT = Path(__file__).parents[3]
FORMS = {
    "scale/roi": ExpertForm(4, 8.0),
    "scale/wsi": ExpertForm(2, 3.0, ("q_proj", "o_proj", "down_proj")),
    "task/classification": ExpertForm(1, 5.0, ("q_proj", "v_proj")),
    "task/detection": ExpertForm(6, 6.0, ("gate_proj", "up_proj", "down_proj")),
    "task/vqa": ExpertForm(3, 1.0),
}
GATES = Gates(
    ("detection", "classification", "vqa"),
    torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.0, 0.0], [0.1, 0.6, 0.3], [1.0, 0.0, 2.0]]),
)
ALIKE = Gates(("detection", "vqa"), torch.tensor([[0.25, 0.75]]).expand(4, -1))


@pytest.fixture
def experts(tiny_base: Path) -> Experts:
    made = attach(Base.load(tiny_base), FORMS, seed=7)
    randomise(made, list(FORMS), size=0.2)
    return made


def gate(gates: Gates, name: str, row: int) -> float:
    """What the expert's contribution to a row is multiplied by."""
    return 1.0 if name == "scale/roi" else float(gates.weights[row, gates.tasks.index(name.split("/")[1])])


def by_hand(experts: Experts, layer: ExpertLinear, gates: Gates, x: Tensor) -> Tensor:
    """W0 x + sum of g s B A x in float64, expert by expert and row by row."""
    rows = []
    for row, given in enumerate(x.double()):
        weight = layer.base_layer.weight.double().clone()
        for name in experts.active:
            if layer.holds(name):
                a, b = (factor.double() for factor in layer.factors(name))
                form = FORMS[name]
                weight += gate(gates, name, row) * form.alpha / form.rank * b @ a
        bias = layer.base_layer.bias
        rows.append(given @ weight.T + (0 if bias is None else bias.double()))
    return torch.stack(rows).float()


@pytest.mark.parametrize("gates", [GATES, ALIKE], ids=["unlike", "alike"])
@pytest.mark.parametrize("merged", [False, True])
def test_a_gated_stack_is_the_base_plus_the_gated_deltas(
    experts: Experts, gates: Gates, merged: bool
) -> None:
    """Catches one scale for all ranks, a gate of another row or expert, an expert on a layer that it does not adapt,
    and requests of unlike gates merged into one matrix."""
    with experts.gated("roi", gates):
        assert experts.active == ("scale/roi", *(f"task/{task}" for task in gates.tasks))
        for layer in experts.layers:
            x = torch.randn(4, 3, layer.base_layer.in_features)
            if merged:
                with experts.merged(), experts.serving(torch.arange(4)):
                    found = layer(x)
                    assert (layer.held is None) == (gates is ALIKE)
            else:
                with experts.serving(torch.arange(4)):
                    found = layer(x)
            torch.testing.assert_close(found, by_hand(experts, layer, gates, x), atol=1e-6, rtol=1e-5)
            assert layer.whole is layer.held is None
    assert experts.active == ()


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_the_stack_equals_pefts_own_layers(experts: Experts, tiny_base: Path) -> None:
    """Catches our forward pass drifting from the library whose adapters these are: stock peft, in another copy of the
    base, with the same factors, the gates as its scales, through the whole decoder."""
    twin = Base.load(tiny_base).language_model
    names = ("scale/roi", "task/detection", "task/classification", "task/vqa")
    for name in names:
        form = FORMS[name]
        config = LoraConfig(r=form.rank, lora_alpha=form.alpha, target_modules=list(form.layers), bias="none")
        inject_adapter_in_model(config, twin, adapter_name=name)
    embeds = torch.randn(1, 5, experts.base.width)
    for row in range(4):
        for layer in experts.layers:
            stock = twin.get_submodule(layer.layer_name)
            stock.set_adapter([name for name in names if layer.holds(name)])
            for name in filter(layer.holds, names):
                stock.lora_A[name].weight.data.copy_(layer.factors(name)[0])
                stock.lora_B[name].weight.data.copy_(layer.factors(name)[1])
                stock.set_scale(name, gate(GATES, name, row))
        with torch.no_grad(), experts.gated("roi", GATES), experts.serving(torch.tensor([row])):
            ours = experts.base.language_model(inputs_embeds=embeds).last_hidden_state
            theirs = twin(inputs_embeds=embeds).last_hidden_state
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_what_is_relied_on_of_peft_holds(experts: Experts) -> None:
    """Catches a peft that gives the experts layers of another class, other places, ranks or scales, that puts a second
    expert's layers around the first one's, or that is imported anywhere else."""
    decoder = experts.base.language_model
    for name, form in FORMS.items():
        adapted = {layer.layer_name for layer in experts.layers if layer.holds(name)}
        assert adapted == {n for n, _ in decoder.named_modules() if n.rpartition(".")[2] in form.layers}
        for layer in filter(lambda layer: layer.holds(name), experts.layers):
            a, b = layer.factors(name)
            assert type(layer) is ExpertLinear
            assert (len(a), b.shape[1], layer.scale(name)) == (form.rank, form.rank, form.alpha / form.rank)
            assert type(layer.base_layer) is torch.nn.Linear
    assert not any(p.requires_grad for p in decoder.parameters())
    imports = re.compile(r"^\s*(from|import) peft\b", re.MULTILINE)
    files = [path for path in (ROOT / "client").rglob("*.py") if imports.search(path.read_text("utf-8"))]
    assert [path.name for path in files] == ["adapters.py"]
    assert issubclass(ExpertLinear, AdapterLinear)


def asked(experts: Experts) -> list[Query]:
    """Four requests of unlike lengths."""
    visuals = [Visual(torch.randn(n, experts.base.width), grid=(1, n)) for n in (2, 5, 3, 4)]
    questions = ("How many?", "Which tissue is this?", "Where?", "Is there any fat to be seen here?")
    visuals = [Visual(v.tokens, (torch.randn_like(v.tokens),), v.grid) for v in visuals]
    return [Query(experts.prompts.prompt(q, v), v) for q, v in zip(questions, visuals, strict=True)]


def test_each_request_is_served_by_its_own_gates(experts: Experts) -> None:
    """Catches gates that stay with the row when rows are repeated, padded, or leave the batch as they end."""
    queries = asked(experts)
    answers = [experts.prompts.answer(text) for text in ("3", "seven glands", "", "a longer one", "no")]
    owner = torch.tensor([2, 0, 0, 3, 1])
    with experts.gated("roi", GATES):
        together, _ = answer_logprobs(experts, read(experts, queries).rows(owner), answers)
        written = greedy(experts, queries, 12, experts.prompts.stop())
    for row, (index, ids) in enumerate(zip(owner.tolist(), answers, strict=True)):
        with experts.gated("roi", Gates(GATES.tasks, GATES.weights[index : index + 1])):
            alone, _ = answer_logprobs(experts, read(experts, [queries[index]]), [ids])
        torch.testing.assert_close(together[row, : len(ids)], alone[0], atol=2e-5, rtol=1e-4)
    for index, text in enumerate(written):
        with experts.gated("roi", Gates(GATES.tasks, GATES.weights[index : index + 1])):
            assert greedy(experts, [queries[index]], 12, experts.prompts.stop()) == [text]
    with experts.only("roi", "detection"):
        declared, _ = answer_logprobs(experts, read(experts, queries[:1]), answers[:1])
    with experts.gated("roi", Gates(("detection",), torch.ones(1, 1))):
        learned, _ = answer_logprobs(experts, read(experts, queries[:1]), answers[:1])
    torch.testing.assert_close(declared, learned)


def test_gradients_under_gates_are_those_of_one_patient_at_a_time(experts: Experts) -> None:
    """Catches gates, scales or columns left out of a gradient, and a patient's gradient that holds another's."""
    queries = asked(experts)
    answers = [experts.prompts.answer(text) for text in ("3", "seven glands", "x", "no")]
    names = ["scale/roi", "task/detection", "task/vqa", "task/classification"]
    trained = experts.trainable(names)
    patients = torch.tensor([1, 0, 1, 2])
    tape = GradientTape(trained, 3)
    with experts.gated("roi", GATES), recording(experts, tape):
        tape.at(patients)
        logprobs, _ = answer_logprobs(experts, read(experts, queries), answers)
        logprobs.sum().backward()
    for patient in range(3):
        own = (patients == patient).nonzero()[:, 0].tolist()
        for parameter in trained.values():
            parameter.requires_grad_(True)
        total = torch.zeros(())
        for i in own:
            with experts.gated("roi", Gates(GATES.tasks, GATES.weights[i : i + 1])):
                total = total + answer_logprobs(experts, read(experts, [queries[i]]), [answers[i]])[0].sum()
        found = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
        for parameter in trained.values():
            parameter.requires_grad_(False)
        theirs = {
            k: torch.zeros_like(p) if g is None else g
            for (k, p), g in zip(trained.items(), found, strict=True)
        }
        mine = {key: value[patient] for key, value in tape.gradients.items()}
        assert norm({key: mine[key] - theirs[key] for key in mine}) < 1e-5 * norm(theirs)
    silent = [key for key in trained if key.startswith("task/classification")]
    assert not any(tape.gradients[key][[0, 2]].any() for key in silent)  # their gates are 0
    assert all(tape.gradients[key][1].any() for key in silent)


def test_what_is_computed_again_sees_the_experts_of_then(experts: Experts) -> None:
    """Catches a layer that is computed again in the backward pass with the experts, or another row's gates, of then."""
    layer = experts.layers[0]
    x = torch.randn(2, 3, layer.base_layer.in_features)
    with experts.gated("roi", GATES), experts.serving(torch.tensor([2, 0])):
        first, again = layer(x), experts.as_now()
    with experts.only("wsi", "vqa"):
        other = layer(x)
        with again():
            assert torch.equal(layer(x), first)
        assert torch.equal(layer(x), other)
    assert experts.active == ()


def test_experts_of_a_bfloat16_base_are_float32(tiny_base: Path) -> None:
    """Catches small updates that a bfloat16 expert rounds away, float32 products on a bfloat16 base, and a merge that
    rounds small experts away."""
    base = Base.load(tiny_base)
    base.model.to(torch.bfloat16)
    experts = attach(base, FORMS, seed=7)
    randomise(experts, EXPERTS[:1])
    trained = experts.trainable(["scale/roi", "scale/wsi", "router"])
    assert {value.dtype for value in trained.values()} == {torch.float32}
    before = experts.export("scale/roi")
    experts.write({key: value + 1e-6 for key, value in experts.trainable(["scale/roi"]).items()})
    moved = [after - before[key] for key, after in experts.export("scale/roi").items()]
    assert all(abs(change.mean() - 1e-6) < 2e-7 for change in moved)
    with experts.only("roi", None):
        layer = experts.layers[0]
        x = torch.randn(2, 3, layer.base_layer.in_features, dtype=torch.bfloat16)
        a, b = (factor.to(torch.bfloat16) for factor in layer.factors("scale/roi"))
        expected = x @ layer.base_layer.weight.T + (x @ a.T) * 2.0 @ b.T
        torch.testing.assert_close(layer(x), expected, atol=1e-2, rtol=1e-2)
        with experts.merged():
            assert layer.whole is None
            torch.testing.assert_close(layer(x), expected, atol=1e-2, rtol=1e-2)
        tape = GradientTape(experts.trainable(["scale/roi"]), 1)
        with recording(experts, tape):
            tape.at(torch.zeros(4, dtype=torch.long))
            queries = asked(experts)
            deep = [tuple(layer.bfloat16() for layer in q.visual.deepstack) for q in queries]
            queries = [
                Query(q.prompt, Visual(q.visual.tokens.bfloat16(), d, q.visual.grid))
                for q, d in zip(queries, deep, strict=True)
            ]
            answer_logprobs(experts, read(experts, queries), [[5, 6]] * 4)[0].sum().backward()
        assert all(value.dtype == torch.float32 and value.any() for value in tape.gradients.values())


@pytest.mark.parametrize(
    "weights",
    [torch.ones(2), torch.ones(2, 3), torch.tensor([[1.0, -0.1]]), torch.tensor([[float("nan"), 1]])],
)
def test_gates_of_a_wrong_form_are_refused(weights: Tensor) -> None:
    """Catches gates that would be read by the wrong experts, or turn an expert against itself."""
    with pytest.raises(ExpertError, match="gates"):
        Gates(("vqa", "detection"), weights)


def test_every_layer_of_the_vocabulary_is_a_layer_of_the_base(tiny_base: Path) -> None:
    """Catches a form's layer name that no base has, which would adapt nothing."""
    names = {name.rpartition(".")[2] for name, _ in Base.load(tiny_base).language_model.named_modules()}
    assert set(LAYERS) <= names


def test_the_experts_of_a_request_are_one_lora(experts: Experts) -> None:
    """Catches a request's experts told to another engine without a scale, with another's gates or with an expert that is
    off; and a change of weights that nobody would notice.
    """
    layers = {layer.layer_name: layer for layer in experts.layers}
    generator = torch.Generator().manual_seed(1)
    with experts.gated("roi", GATES):
        for row in range(len(GATES.weights)):
            told = experts.as_one(row)
            assert {name for name, _ in experts.serves(row)} == {
                "scale/roi",
                *(f"task/{task}" for task, g in zip(GATES.tasks, GATES.weights[row], strict=True) if g > 0),
            }
            assert len({len(a) for a, _ in told.values()}) == 1
            assert len(told) == len(layers)  # scale/roi adapts them all
            for name, (a, b) in told.items():
                layer = layers[name.split("language_model.")[1]]
                assert experts.base.model.get_submodule(name) is layer
                x = torch.randn(len(GATES.weights), 3, a.shape[1], generator=generator)
                added = by_hand(experts, layer, GATES, x)[row] - layer.base_layer(x[row])
                torch.testing.assert_close(x[row] @ a.T @ b.T, added, atol=1e-5, rtol=1e-4)
    before = experts.version
    experts.load("task/vqa", experts.initial("task/vqa"))
    assert experts.version > before
