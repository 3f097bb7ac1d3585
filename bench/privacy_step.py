"""A private training step against the same step without privacy, and against Opacus.

The decoder has SmolLM-135M's shape and random weights; a LoRA expert stands on all seven kinds of linear layer, A
frozen, B trained.  Eight patients have one sequence each, so that "per sample", all that Opacus knows, is per
patient; the loss is on the last quarter of the tokens, as answers follow prompts.  Five ways to take one Adam step:

    plain         the experts' own fused layers, mean loss, ordinary backward, torch's Adam: the floor
    plain_peft    the same on peft's own LoRA layers
    ours          `client.training.round.train_round` of one step, whole: gradients of each patient on the tape, clip,
                  secure hardened noise, Adam, weights written back
    opacus_hooks  GradSampleModule and DPOptimizer, on peft's layers; noise hardened, from torch's own generator
    opacus_ghost  GradSampleModuleFastGradientClipping and its optimizer; likewise

Before anything is timed, the three private ways must give the same clipped sum.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from bench.ledger import seconds
from bench.privacy_timing import Figures, figures, medians
from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.patient_gradients import GradientTape, patient_gradients
from client.model.projector import HIDDEN, Projector
from client.tasks.sample import Label, Region, Sample
from client.training.batch import Performance
from client.training.draw import Draw, PatientGradients
from client.training.rollout import sample
from client.training.round import clipped_sum, train_round
from privacy.clip import clip_and_sum
from privacy.experts import EXPERTS, LAYERS, ExpertForm, same_form
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import SecureRandom

EMBEDDED = Path(__file__).parents[1] / "client" / "model" / "embedded"
EXPERT = "scale/roi"
LEARNING_RATE = 1e-4
GOAL = 1.05
SAME = 1e-3  # Opacus divides by the norm + 1e-6, in float32
ADAPTER = "plain"


@dataclass(frozen=True)
class Shape:
    """A decoder, its experts' rank, and a batch of one sequence a patient."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    rank: int
    patients: int
    tokens: int

    @property
    def answer(self) -> int:
        """How many tokens at the end bear the loss."""
        return self.tokens // 4


SMOLLM_135M = Shape(576, 1536, 30, 9, 3, 49152, rank=16, patients=8, tokens=128)
TINY = Shape(64, 128, 2, 4, 2, 512, rank=4, patients=4, tokens=16)


class Decoder(Base):
    """A base whose model is a bare decoder: the experts ask a base for nothing else."""

    @property
    def language_model(self) -> Any:
        """The decoder that experts attach to."""
        return self.model.model


def measure(shape: Shape, repeats: int) -> Figures:
    """CPU seconds of a step in each of the five ways, and ratios to the plain one."""
    torch.manual_seed(0)
    ids = torch.randint(shape.vocabulary, (shape.patients, shape.tokens))
    llama = _llama(shape)
    parameters = sum(p.numel() for p in llama.parameters())
    peft, hooked, ghostly = (_twin(llama) for _ in range(3))
    experts = _experts(llama, shape)
    trained = experts.trainable([EXPERT])
    drawn, seeds = _drawn(shape), list(range(shape.patients))
    draw = Draw(
        experts, trained, drawn, seeds, _plan(shape, 1.0), (), lambda asked: [], Performance(), sample
    )
    given = _gradients_of(ids, shape.answer)(draw)
    norms = sum(g.flatten(1).double().square().sum(1) for g in given.values())
    clip_norm = float(torch.as_tensor(norms).sqrt().median())  # so that half of the patients are clipped
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        hooks = Opacus(*_with_peft(hooked, experts), clip_norm, ids, shape.answer, ghost=False)
        ghost = Opacus(*_with_peft(ghostly, experts), clip_norm, ids, shape.answer, ghost=True)
        apart = _furthest(
            torch.cat([total.flatten() for total in clip_and_sum(given, clip_norm).total.values()]),
            {"opacus_hooks": hooks.clipped_sum(), "opacus_ghost": ghost.clipped_sum()},
        )
        ways: dict[str, Callable[[], object]] = {
            "plain": _plain(
                llama, list(trained.values()), ids, shape.answer, partial(experts.only, "roi", None)
            ),
            "plain_peft": _plain(*_with_peft(peft, experts), ids, shape.answer, nullcontext),
            "ours": _ours(experts, shape, ids, clip_norm),
            "opacus_hooks": hooks.step,
            "opacus_ghost": ghost.step,
        }
        took = medians({name: lambda way=way: seconds(way) for name, way in ways.items()}, repeats)
    return {
        "parameters": parameters,
        "trained": sum(p.numel() for p in trained.values()),
        "batch": f"{shape.patients} x {shape.tokens}",
        **figures(took, "plain"),
        "goal_ours_to_plain": GOAL,
        "clipped_sums_differ_by": apart,
    }


class Opacus:
    """Opacus on peft's layers, one sequence a patient."""

    def __init__(
        self,
        model: LlamaForCausalLM,
        trained: Sequence[nn.Parameter],
        clip_norm: float,
        ids: Tensor,
        answer: int,
        *,
        ghost: bool,
    ) -> None:
        adam = torch.optim.Adam(trained, lr=LEARNING_RATE)
        settings: dict[str, Any] = {
            "noise_multiplier": 1.0,
            "max_grad_norm": clip_norm,
            "expected_batch_size": len(ids),
            "loss_reduction": "mean",
            "secure_mode": True,
        }
        model.train()  # the hooks listen only then; the decoder has no dropout
        if ghost:
            self._module: Any = GradSampleModuleFastGradientClipping(model, max_grad_norm=clip_norm)
            self._optimizer: Any = DPOptimizerFastGradientClipping(adam, **settings)
        else:
            self._module = GradSampleModule(model)
            self._optimizer = DPOptimizer(adam, **settings)
        self._ghost, self._trained, self._ids, self._answer = ghost, trained, ids, answer

    def step(self) -> None:
        """One private step."""
        self._backward()
        self._optimizer.step()

    def clipped_sum(self) -> Tensor:
        """All parameters' sums of clipped gradients, flat, without a step."""
        self._backward()
        if not self._ghost:
            self._optimizer.clip_and_accumulate()
        sums: list[Any] = [p.grad if self._ghost else p.summed_grad for p in self._trained]
        flat = torch.cat([total.flatten() for total in sums])  # a copy
        self._optimizer.zero_grad()
        return flat

    def _backward(self) -> None:
        self._optimizer.zero_grad()
        losses = _losses(self._module, self._ids, self._answer)
        if self._ghost:
            DPTensorFastGradientClipping(self._module, self._optimizer, losses, "mean").backward()
        else:
            losses.mean().backward()


def _llama(shape: Shape) -> LlamaForCausalLM:
    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).requires_grad_(False)


def _twin(llama: LlamaForCausalLM) -> LlamaForCausalLM:
    """Modules of its own around the same frozen weights."""
    return copy.deepcopy(llama, {id(p): p for p in llama.parameters()})


def _experts(llama: LlamaForCausalLM, shape: Shape) -> Experts:
    held = vars(Base.load(EMBEDDED)) | {
        "model": llama,
        "projector": Projector(shape.hidden, shape.hidden, HIDDEN),
    }
    return attach(Decoder(**held), {EXPERT: ExpertForm(shape.rank, 2.0 * shape.rank)}, seed=7)


def _with_peft(twin: LlamaForCausalLM, experts: Experts) -> tuple[LlamaForCausalLM, list[nn.Parameter]]:
    """peft's own layers with the experts' A, and their B, which alone train."""
    config = LoraConfig(
        r=experts.forms[EXPERT].rank,
        lora_alpha=int(experts.forms[EXPERT].alpha),
        target_modules=list(LAYERS),
        lora_dropout=0.0,
        bias="none",
    )
    inject_adapter_in_model(config, twin.model, adapter_name=ADAPTER)
    twin.requires_grad_(False)
    trained = []
    for layer in experts.layers:
        own: Any = twin.model.get_submodule(layer.layer_name)
        own.lora_A[ADAPTER].weight.data.copy_(layer.factors(EXPERT)[0])
        trained.append(own.lora_B[ADAPTER].weight.requires_grad_(True))
    return twin, trained


def _losses(model: nn.Module, ids: Tensor, answer: int) -> Tensor:
    """Mean negative log-likelihood of each row's last `answer` tokens, [N]."""
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=answer + 1).logits[:, :-1]
    wanted = ids[:, -answer:]
    each = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return each.view(wanted.shape).mean(1)


def _plain(
    model: LlamaForCausalLM,
    trained: Sequence[Tensor],
    ids: Tensor,
    answer: int,
    active: Callable[[], AbstractContextManager[None]],
) -> Callable[[], object]:
    adam = torch.optim.Adam(trained, lr=LEARNING_RATE)

    def require(
        on: bool,
    ) -> None:  # the experts' own B train through the tape at other times, not through autograd
        for parameter in trained:
            parameter.requires_grad_(on)

    def step() -> None:
        require(True)
        with active():
            _losses(model, ids, answer).mean().backward()
        adam.step()
        adam.zero_grad()
        require(False)

    return step


def _ours(experts: Experts, shape: Shape, ids: Tensor, clip_norm: float) -> Callable[[], object]:
    return lambda: train_round(
        experts,
        [EXPERT],
        [sample for own in _drawn(shape) for sample in own],
        lambda asked: [],
        _plan(shape, clip_norm),
        shape.patients,
        SecureRandom(),
        lambda step, of: None,
        step_sum=partial(clipped_sum, gradients=_gradients_of(ids, shape.answer)),
    )


def _plan(shape: Shape, clip_norm: float) -> Plan:
    return Plan(
        campaign="bench",
        round=1,
        stage="sft",
        experts=(EXPERT,),
        mechanism=Mechanism(clip_norm, 1.0, 1.0, 1, 1),
        learning_rate=LEARNING_RATE,
        base_hash="0" * 64,
        experts_hash=dict.fromkeys(EXPERTS, "0" * 64),
        forms=same_form(EXPERTS, shape.rank, 2.0 * shape.rank),
        expert_seed=7,
    )


def _drawn(shape: Shape) -> list[list[Sample]]:
    """One sample a patient; its slide's name says which sequence is meant."""
    region = Region(0, 0, 64, 64)
    return [
        [Sample(f"patient {row}", str(row), region, "classification", "Which tissue?", Label("fat"))]
        for row in range(shape.patients)
    ]


def _gradients_of(ids: Tensor, answer: int) -> PatientGradients:
    """What `train_round` asks for each patient's gradient: the tape that the real stages use, on these sequences."""

    def gradients(draw: Draw) -> dict[str, Tensor]:
        rows = ids[[int(samples[0].slide) for samples in draw.samples]]

        def losses(tape: GradientTape) -> Tensor:
            tape.at(torch.arange(len(rows)))
            with draw.experts.only("roi", None):
                return _losses(draw.experts.base.model, rows, answer)

        return patient_gradients(draw.experts, draw.parameters, len(draw), iter([losses]))

    return gradients


def _furthest(ours: Tensor, theirs: Mapping[str, Tensor]) -> float:
    """The largest relative difference; raises where one is so large that other things were computed."""
    apart = {name: float((ours - sum_).norm() / ours.norm()) for name, sum_ in theirs.items()}
    for name, difference in apart.items():
        if not (math.isfinite(difference) and difference < SAME):
            raise RuntimeError(f"{name}'s clipped sum differs from ours by {difference}: nothing to compare")
    return float(f"{max(apart.values()):.1e}")
