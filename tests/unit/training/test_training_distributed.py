"""Two processes that share a draw over gloo: the sum, the noise and the weights of one process."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from client.errors import ClientError, UnreadableSlideError
from client.model.base import Base
from client.model.experts import Experts
from client.model.visual import Visual
from client.slides.slide import Slide
from client.tasks.sample import Sample
from client.training.batch import Performance
from client.training.distributed import Team, WorkerError, joined, rank_of
from client.training.round import clipped_sum, train_round
from privacy.descent import StepState
from privacy.mechanism import Mechanism
from privacy.plan import Plan
from privacy.randomness import RandomSource, SecureRandom, SeededRandom
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, plan, samples_of

SIZE = 2


class Failing:
    """Inputs of slides that are known, each at its scale; some fail, in whatever process they are asked for."""

    def __init__(self, base: Base, slides: Mapping[str, Slide]) -> None:
        self._inputs, self._slides = Inputs(base), slides

    def __call__(self, samples: Sequence[Sample]) -> list[Visual]:
        for sample in samples:
            if sample.patient == "unreadable":
                raise UnreadableSlideError("unreadable.svs")
            if sample.patient == "broken":
                raise RuntimeError("patient DOE-1")
        scales = [self._slides[sample.slide].mpp for sample in samples]
        visuals = self._inputs(samples)
        return [replace(v, tokens=v.tokens * mpp) for v, mpp in zip(visuals, scales, strict=True)]


def slides_of(names: str, mpp: float = 0.5) -> dict[str, Slide]:
    return {name: Slide(name, Path(name), mpp, 64, 64, (1.0,)) for name in names}


SLIDES = slides_of("abcde")


def _worker(base: Path, meeting: Path) -> None:
    torch.set_num_threads(1)
    experts = fresh(Base.load(base))

    def load(plan: Plan, parts: object) -> Experts:
        return experts

    with joined(meeting, 1, SIZE) as team:
        team.follow(load, partial(Failing, experts.base))


@pytest.fixture(scope="module")
def team(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The leader, in this process, of a team of two."""
    meeting = tmp_path_factory.mktemp("team") / "meeting"
    worker = multiprocessing.get_context("spawn").Process(target=_worker, args=(tiny_base, meeting))
    worker.start()
    with joined(meeting, 0, SIZE) as leader:
        yield leader
        leader.end()
    worker.join(timeout=30)
    assert worker.exitcode == 0


def asked(experts: Experts, stage: str, mechanism: Mechanism) -> Plan:
    extra = {"rollouts": 4, "kl_beta": 0.04, "max_answer_tokens": 8} if stage == "grpo" else {}
    return plan(experts.base.hash, stage, mechanism, SFT if stage == "sft" else GRPO, **extra)


def flat(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[key].flatten() for key in sorted(tensors)])


@pytest.mark.parametrize(
    ("who", "max_rank"), [("abcde", None), ("abcde", 2), ("ab", None), ("a", 1), ("", None)]
)
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_the_clipped_sum_is_that_of_one_process(
    tiny_base: Path, team: Team, stage: str, who: str, max_rank: int | None
) -> None:
    """Catches a patient lost, taken twice, given another's seed, or clipped after the shares were added; and processes
    that train other columns than the leader, or tell other tasks apart.
    """
    experts = fresh(Base.load(tiny_base))
    told = asked(experts, stage, Mechanism(0.05, 1.0, 0.5, 1, 5))
    drawn, seeds = [samples_of(name) for name in who], [ord(name) for name in who]
    inputs, slowly = Failing(experts.base, SLIDES), Performance(patients=2)
    given = draw_of(
        experts, told.experts, drawn, seeds, inputs, told, slowly, max_rank, tasks=("vqa", "detection")
    )
    team.begin(told, {}, SLIDES)
    ours, theirs = team.clipped_sum(given), clipped_sum(given)
    assert ours.sensitivity == theirs.sensitivity
    assert float((flat(ours.total) - flat(theirs.total)).norm()) <= 1e-5 * float(flat(theirs.total).norm())
    assert bool(who) == bool(flat(theirs.total).any())


@pytest.mark.parametrize(
    ("first", "later"),
    [(slides_of("ab"), SLIDES), (SLIDES, slides_of("abcde", 1.0))],
    ids=["further slides", "another scale"],
)
def test_every_process_reads_the_slides_that_the_leader_has(
    tiny_base: Path, team: Team, first: dict[str, Slide], later: dict[str, Slide]
) -> None:
    """Catches a process that goes by the slides of its start: patients whose slide came later would void every round that
    they are drawn in, and others be read at a scale that hangs on whose process has them.
    """
    experts = fresh(Base.load(tiny_base))
    told = asked(experts, "sft", Mechanism(0.05, 1.0, 0.5, 1, 5))
    sums = []
    assert rank_of("d", SIZE) == 1
    for slides in (first, later):
        drawn = [samples_of(name) for name in slides]
        given = draw_of(experts, told.experts, drawn, range(len(drawn)), Failing(experts.base, slides), told)
        team.begin(told, {}, slides)
        ours, theirs = (flat(clipped.total) for clipped in (team.clipped_sum(given), clipped_sum(given)))
        assert float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm())
        sums.append(ours)
    assert float((sums[0] - sums[1]).norm()) > 1e-2 * float(sums[0].norm()), "both would have done"


def one_round(
    experts: Experts, told: Plan, random: RandomSource, team: Team | None, keep: Callable[[StepState], None]
) -> np.ndarray:
    """A round of this plan; its deltas as one vector."""
    if team is not None:
        team.begin(told, {}, SLIDES)
    deltas = train_round(
        experts,
        told.experts,
        [sample for name in "abcde" for sample in samples_of(name)],
        Failing(experts.base, SLIDES),
        told,
        5,
        random,
        lambda done, of: None,
        keep=keep,
        step_sum=None if team is None else team.clipped_sum,
    )
    return np.concatenate([v.ravel() for _, d in sorted(deltas.items()) for v in d.tensors.values()])


def test_a_round_of_several_steps_is_that_of_one_process(tiny_base: Path, team: Team) -> None:
    """Catches other processes that go on from old weights after a step (0.025 apart), and draws of their own."""
    told = asked(base := fresh(Base.load(tiny_base)), "sft", Mechanism(1.0, 0.3, 0.7, 4, 5))
    assert base is not None
    rounds = [
        one_round(fresh(Base.load(tiny_base)), told, SeededRandom(3), among, lambda state: None)
        for among in (team, None)
    ]
    ours, theirs = rounds
    assert np.linalg.norm(ours - theirs) < 5e-3 * np.linalg.norm(theirs)


def test_the_noise_is_added_once(tiny_base: Path, team: Team) -> None:
    """Catches noise from every process (variance 2), from none, or divided among them (1/2).

    Chi-square over all coordinates of an empty draw's step, level 1e-6; with over 5,000 coordinates it rejects
    variances of 0.85 and of 1.18 of the truth with probability over 0.999.
    """
    experts = fresh(Base.load(tiny_base))
    mechanism = Mechanism(1.0, 1.0, 1e-6, 1, 5)
    seen: list[torch.Tensor] = []

    def look(state: StepState) -> None:
        seen.append(
            torch.cat([value.flatten() for value in state.first.values()]).double() / 0.1 / state.noise_std
        )

    one_round(experts, asked(experts, "sft", mechanism), SecureRandom(), team, look)
    (noise,) = seen
    count = noise.numel()
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], df=count)
    assert count > 5_000
    assert low < float(noise.square().sum()) < high
    for wrong in (0.85, 1.18):
        missed = stats.chi2.cdf(high / wrong, df=count) - stats.chi2.cdf(low / wrong, df=count)
        assert missed < 1e-3


@pytest.mark.parametrize("place", [0, 1])
def test_a_failure_in_any_process_reaches_the_leader_and_the_team_goes_on(
    tiny_base: Path, team: Team, place: int
) -> None:
    """Catches a leader that waits for ever on a process that failed, a sum without a share, and a name in an error."""
    experts = fresh(Base.load(tiny_base))
    told = asked(experts, "sft", Mechanism(1.0, 1.0, 0.5, 1, 5))
    inputs = Failing(experts.base, SLIDES)
    team.begin(told, {}, SLIDES)
    for bad, error in (("unreadable", UnreadableSlideError), ("broken", (WorkerError, RuntimeError))):
        drawn = [samples_of("a"), samples_of("b")]
        drawn[place] = samples_of(bad)
        with pytest.raises(error) as caught:
            team.clipped_sum(draw_of(experts, told.experts, drawn, [1, 2], inputs, told))
        if isinstance(caught.value, ClientError):
            assert "DOE" not in str(caught.value)
        alone = draw_of(experts, told.experts, [samples_of("a")], [1], inputs, told)
        assert team.clipped_sum(alone).total


ALONE = """
import sys
from datetime import timedelta
from pathlib import Path
from client.training import distributed
distributed.MEETING = timedelta(seconds=1)
try:
    with distributed.joined(Path(sys.argv[1]), 0, 2):
        pass
except distributed.WorkerError as error:
    print(error)
"""


def test_a_process_that_is_left_alone_says_so(tmp_path: Path) -> None:
    """Catches an agent that waits for ever on a worker that could not start."""
    command = [sys.executable, "-c", ALONE, str(tmp_path / "meeting")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith("2 processes did not meet within 1 s"), done.stderr
