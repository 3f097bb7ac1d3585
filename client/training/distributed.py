"""Several processes of one hospital, one a GPU, that share the patients of one draw.

Rank 0 is the agent: it alone draws, adds noise, steps, and holds ledger and keys. The others are told whose gradients
to take, from which slides and which weights, and give back one thing, their part of the clipped sum:

    rank 0   draw ─► tell ─► own share ─┐
    rank r           told ─► own share ─┴─► all-reduce ─► rank 0: Clipped ─► noise, once ─► step ─► tell the weights

Each patient of the draw is in one share, so the sum moves by at most the clip norm, as in one process. In which one,
the patient's own key decides: where processes differ in anything (GPUs of two kinds round differently, and a last bit
may decide a token), one patient more must not move others to another process. Shares are as even as chance makes them.
What travels between the processes is not noised and never leaves the machine: gloo, over a loopback.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from client.errors import ClientError, SlideError
from client.model.experts import Experts
from client.slides.slide import Slide
from client.tasks.patient import identity
from client.tasks.sample import Sample
from client.training import rollout
from client.training.batch import LoadInputs, Performance
from client.training.draw import Draw
from client.training.grpo import Rewarded
from client.training.rollout import Sampler
from client.training.round import clipped_sum, stage_gradients
from privacy.clip import Clipped, add_across
from privacy.plan import Plan

_LOG = logging.getLogger("fedpath.training")
MEETING = timedelta(minutes=2)  # all are there by then
# No process waits in vain: one that dies closes its connections. Between rounds the others wait for days.
PATIENCE = timedelta(days=3650)

Load = Callable[[Plan, Mapping[str, bytes]], Experts]
OpenInputs = Callable[[Mapping[str, Slide]], LoadInputs]


class WorkerError(ClientError):
    """Another process of the team failed; its own log says why."""


@dataclass(frozen=True)
class Begin:
    """A round begins: the plan's bytes, the experts as they were sent, and the slides as the leader has them indexed."""

    plan: bytes
    parts: Mapping[str, bytes]
    slides: Mapping[str, Slide]


@dataclass(frozen=True)
class Step:
    """A step's draw, and the shapes of the parameters that train, by name, whose values follow in this order."""

    parameters: Mapping[str, tuple[int, ...]]
    samples: Sequence[Sequence[Sample]]
    seeds: Sequence[int]
    tasks: Collection[str]
    performance: Performance


@dataclass(frozen=True)
class Team:
    """This process among `size` of them; `rank` 0 leads. Made by `joined`."""

    rank: int
    size: int
    group: dist.ProcessGroup

    def begin(self, plan: Plan, parts: Mapping[str, bytes], slides: Mapping[str, Slide]) -> None:
        """The leader's word that a round begins, whose experts are in `parts`; the others read `slides` as it does."""
        self._tell(Begin(plan.to_bytes(), dict(parts), dict(slides)))

    def clipped_sum(self, draw: Draw, rewarded: Rewarded = lambda task, rewards: None) -> Clipped:
        """`round.clipped_sum` over all processes' shares, for the leader; `rewarded` is told of every group of rollouts
        in any of them.

        Raises the SlideError that any process met, so that the leader leaves that slide out; any other failure of
        another process is a `WorkerError`.
        """
        shapes = {name: tuple(draw.parameters[name].shape) for name in sorted(draw.parameters)}
        self._tell(Step(shapes, draw.samples, draw.seeds, draw.tasks, draw.performance))
        for name in shapes:
            value = draw.parameters[name].detach().to("cpu", torch.float32).contiguous()
            dist.broadcast(value, src=0, group=self.group)
        return self._share(draw, rewarded)

    def end(self) -> None:
        """The leader's word that the others may go."""
        self._tell(None)

    def follow(self, load: Load, open_inputs: OpenInputs, sampler: Sampler = rollout.sample) -> None:
        """What every process but the leader does, until the leader ends it; each has a sampler of its own. Inputs are opened
        anew where a round's slides are others than those of the round before.
        """
        held: tuple[Plan, Experts, LoadInputs] | None = None
        opened: tuple[Mapping[str, Slide], LoadInputs] | None = None
        while (told := self._told()) is not None:
            if isinstance(told, Begin):
                plan = Plan.from_bytes(told.plan)
                if opened is None or opened[0] != told.slides:
                    opened = told.slides, open_inputs(told.slides)
                held = plan, load(plan, told.parts), opened[1]
                continue
            assert held is not None, "a step before its round"
            plan, experts, load_inputs = held
            values = {name: torch.empty(shape) for name, shape in told.parameters.items()}
            for value in values.values():
                dist.broadcast(value, src=0, group=self.group)
            trained = experts.write(values)
            draw = Draw(
                experts,
                trained,
                told.samples,
                told.seeds,
                plan,
                told.tasks,
                load_inputs,
                told.performance,
                sampler,
            )
            try:
                self._share(draw, lambda task, rewards: None)
            except Exception:
                _LOG.exception(
                    "this step failed"
                )  # the leader was told; where it is gone, the next word fails

    def _share(self, draw: Draw, rewarded: Rewarded) -> Clipped:
        """This process' patients of the draw; then the sum over all processes, if all have theirs."""
        own = [
            p for p, samples in enumerate(draw.samples) if rank_of(samples[0].patient, self.size) == self.rank
        ]
        told: list[tuple[str, list[float]]] = []
        gradients = partial(
            stage_gradients, rewarded=lambda task, rewards: told.append((task, list(rewards)))
        )
        failed: Exception | None = None
        try:
            part = clipped_sum(draw.part(own), gradients)
        except Exception as error:
            failed = error
        for task, rewards in self._heard(failed, told):
            rewarded(task, rewards)
        return add_across(part, self._sum_over_processes)

    def _heard(
        self, failed: Exception | None, told: list[tuple[str, list[float]]]
    ) -> list[tuple[str, list[float]]]:
        """What all processes were told of their groups. Raises for every process what any of them met."""
        word = (type(failed), failed.name) if isinstance(failed, SlideError) else failed and "failed"
        words: list[tuple[object, list[tuple[str, list[float]]]] | None] = [None] * self.size
        dist.all_gather_object(words, (word, told), group=self.group)
        if failed is not None and not isinstance(failed, SlideError):
            raise failed
        groups = []
        for rank, heard in enumerate(words):
            assert heard is not None
            met, theirs = heard
            if isinstance(met, tuple):
                kind, name = met
                raise kind(name)
            if met is not None:
                raise WorkerError(f"process {rank} of {self.size} failed in this step: see its log")
            groups += theirs
        return groups

    def _sum_over_processes(self, tensor: Tensor) -> Tensor:
        total = tensor.cpu().contiguous().clone()
        dist.all_reduce(total, group=self.group)
        return total.to(tensor.device)

    def _tell(self, what: Begin | Step | None) -> None:
        assert self.rank == 0, "only the leader tells"
        dist.broadcast_object_list([what], src=0, group=self.group)

    def _told(self) -> Begin | Step | None:
        box: list[Begin | Step | None] = [None]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]


def rank_of(patient: str, size: int) -> int:
    """Which of `size` processes has this patient, whoever else was drawn; the same in all spellings of the key."""
    digest = hashlib.sha256(identity(patient).encode()).digest()
    return int.from_bytes(digest[:8]) % size


@contextmanager
def joined(meeting: Path, rank: int, size: int) -> Iterator[Team]:
    """Be one of `size` processes that meet at a file, which the leader's caller has made sure is not there yet.

    Raises `WorkerError` where they do not all come.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=MEETING
        )
    except RuntimeError as error:
        raise WorkerError(
            f"{size} processes did not meet within {MEETING.total_seconds():g} s: see the log of each"
        ) from error
    try:
        yield Team(rank, size, dist.new_group(timeout=PATIENCE))
    finally:
        dist.destroy_process_group()
