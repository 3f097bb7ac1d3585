"""One step of SFT and of GRPO: ours with and without privacy, and TRL's.

Ours is `client.training.round.train_round` of one step, whole: draw, prompts, rollouts, each patient's gradient, clip,
noise, Adam, weights written back.  Without privacy its noise is 0 and all else stays.  Two names are replaced: in SFT no
sample is asked to think first, since TRL asks none; in GRPO both sides take a reward that differs from rollout to rollout.

The same on both sides: weights, token ids, sequences or prompts and rollouts a step, length of rollouts (no token ends
one), LoRA layers, rank and alpha, A frozen and B trained, dtype, temperature 1, one optimiser step a draw, no gradient
checkpointing.  TRL's side checks the number of trained parameters, the first loss and the rollouts' length against ours.

Not the same: TRL computes all sequences of a step at once.  Ours keeps a patient's choices of tokens apart
(docs/adr/0016), so that rollouts run patient by patient, and below float32 so does training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from unittest import mock

import torch

from bench.peers.environment import Peer, PeerError, environment
from bench.privacy_timing import Figures, interleaved
from bench.smollm2 import smollm2
from bench.text_base import no_images, text_experts
from bench.training_work import (
    LEARNING_RATE,
    Work,
    answers,
    clock,
    decoder,
    prompts,
    score,
    tokenizer,
)
from client.model.experts import Experts
from client.tasks.registry import TASKS
from client.tasks.sample import Label, Region, Sample
from client.tasks.task import Task
from client.training import grpo, sft
from client.training.round import train_round
from privacy.experts import EXPERTS, ExpertForm, same_form
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import SecureRandom

TRL = (
    "trl==1.16.0",
    "datasets==5.2.0",
    "dill==0.4.1",
    "multiprocess==0.70.19",
    "pandas==3.1.1",
    "xxhash==4.1.0",
)
GOALS = {"sft": 1.0, "sft_private": 0.9, "grpo": 1.0}
REGION = Region(0, 0, 64, 64)


@dataclass(frozen=True)
class Stage:
    """What is trained: `name` in the figures; `beta` of GRPO's KL term."""

    name: str
    kind: str
    expert: str
    beta: float = 0.0


STAGES = (
    Stage("sft", "sft", "scale/roi"),
    Stage("grpo", "grpo", "task/classification"),
    Stage("grpo_kl", "grpo", "task/classification", beta=0.04),
)


def measure(name: str, work: Work, repeats: int) -> Figures:
    """Speeds and ratios of all stages, and what is absent, with the reason."""
    absent: dict[str, str] = {}
    weights = None
    if name == "smollm2-135m":
        try:
            weights = smollm2()
        except PeerError as error:
            absent["weights"] = str(error)
    found: Figures = {
        "weights": "random" if weights is None else weights.name,
        "sft_batch": f"{work.sequences} sequences of {work.prompt} + {work.answer} tokens, {work.each} a patient",
        "grpo_batch": f"{work.prompts} prompts of {work.prompt} tokens, {work.each} a patient; {work.group} rollouts of "
        f"{work.completion} tokens each; sampled at once: {work.each * work.group} here, {work.prompts * work.group} there",
    }
    for stage in STAGES:
        rows = work.sequences if stage.kind == "sft" else work.prompts
        unit, units = "rollouts", rows * work.group
        if stage.kind == "sft":
            unit, units = "tokens", rows * (work.prompt + work.answer)
        with _ours(work, decoder(work, weights), stage, rows) as ours:
            try:
                with _theirs(name, weights, stage, ours) as theirs:
                    took = interleaved({**ours.ways, "trl": theirs.seconds}, repeats)
            except PeerError as error:
                absent[f"trl {stage.name}"] = str(error)
                took = interleaved(ours.ways, repeats)
        for way, seconds in took.items():
            found[f"{stage.name}_{way}_{unit}_per_s"] = round(units / median(seconds), 2)
        for way in ours.ways if "trl" in took else ():
            ratios = [t / own for t, own in zip(took["trl"], took[way], strict=True)]
            found[f"{stage.name}_{way}_to_trl"] = round(median(ratios), 3)
            found[f"{stage.name}_{way}_to_trl_range"] = f"{min(ratios):.3f} to {max(ratios):.3f}"
    return {**found, "absent": [f"{what}: {why}" for what, why in absent.items()]}


@dataclass(frozen=True)
class Ours:
    """`plain` and `private`, each one step, and what TRL must have in common: trained parameters, SFT's loss."""

    ways: Mapping[str, Callable[[], float]]
    trained: int
    loss: float


@contextmanager
def _ours(work: Work, model: object, stage: Stage, rows: int) -> Iterator[Ours]:
    words = tokenizer(work)
    end = work.vocabulary  # `END`, which the model can't say
    form = ExpertForm(work.rank, 2.0 * work.rank)
    experts = text_experts(
        model, words, {stage.expert: form}, lambda text: text.partition("\n")[0], end, closed=False
    )
    samples = [
        Sample(f"patient {i // work.each}", str(i), REGION, "classification", asked, Label(told))
        for i, (asked, told) in enumerate(zip(prompts(work, rows), answers(work, rows), strict=True))
    ]

    def rewarded(task: Task, output: str, sample: Sample) -> float:
        return score(output, work.completion)

    with mock.patch.object(sft, "THINKING_SHARE", 0.0), mock.patch.object(grpo, "reward", rewarded):
        yield Ours(
            {
                "plain": _step(experts, work, stage, samples, noise=0.0),
                "private": _step(experts, work, stage, samples, noise=1.0),
            },
            sum(p.numel() for p in experts.trainable([stage.expert]).values()),
            _loss(experts, samples),
        )


def _step(
    experts: Experts, work: Work, stage: Stage, samples: Sequence[Sample], noise: float
) -> Callable[[], float]:
    patients = len({sample.patient for sample in samples})
    of_grpo = {"rollouts": work.group, "kl_beta": stage.beta, "max_answer_tokens": work.completion}
    plan = Plan(
        campaign="bench",
        round=1,
        stage=stage.kind,
        experts=(stage.expert,),
        mechanism=Mechanism(1.0, noise, 1.0, 1, work.each),
        learning_rate=LEARNING_RATE,
        base_hash="0" * 64,
        experts_hash=dict.fromkeys(EXPERTS, "0" * 64),
        forms=same_form(EXPERTS, work.rank, 2.0 * work.rank),
        expert_seed=7,
        **(of_grpo if stage.kind == "grpo" else {}),  # type: ignore[arg-type]
    )
    load = no_images(experts)

    def step() -> float:
        before = clock()
        train_round(
            experts, [stage.expert], samples, load, plan, patients, SecureRandom(), lambda step, of: None
        )
        return clock() - before

    return step


@torch.no_grad()
def _loss(experts: Experts, samples: Sequence[Sample]) -> float:
    """transformers' own mean loss of the answers' tokens, under the base alone: what a first step should see."""
    prompts = experts.prompts
    rows = [(prompts.ids(s.question), prompts.ids(TASKS[s.task].render(s.answer))) for s in samples]
    ids = torch.tensor([[*asked, *told] for asked, told in rows], device=experts.base.device)
    labels = ids.clone()
    labels[:, : len(rows[0][0])] = -100
    return float(experts.base.model(input_ids=ids, labels=labels).loss)


def _theirs(name: str, weights: Path | None, stage: Stage, ours: Ours) -> Peer:
    number = ours.loss if stage.kind == "sft" else stage.beta
    return Peer(
        environment("trl", TRL),
        Path("trl_training.py"),
        name,
        stage.kind,
        weights or "",
        ours.trained,
        number,
    )
