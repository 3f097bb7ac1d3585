"""Rollouts by a real vLLM, against our own sampler's: the same uniform numbers, so the same tokens."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.forward import Query
from client.model.gates import declared
from client.model.stop import Stop
from client.model.visual import Visual, encode_images
from client.training import rollout
from client.training.round import train_round
from client.training.vllm import EngineError, VllmSampler
from privacy.experts import EXPERTS, same_form, tasks_at
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import GRPO, Inputs, fresh, plan, randomise, samples_of
from tests.process_tree import running
from tests.tiny_families import FAMILIES
from tests.vllm_python import vllm_python

QUESTIONS = ("How many glands?", "Fat?", "Where is the tumour, and how large is it?", "Which tissue is this?")
SHAPES = ((64, 64, 3), (32, 64, 3), (48, 60, 3), (64, 32, 3))
ALIKE = 0.9
ASKED = {"roi": ("vqa", "detection", "classification", "segmentation"), "wsi": ("classification", "vqa")}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder of each family; its heads are as wide as vLLM's kernels for CPUs have them."""
    path = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](path, heads=1, kv_heads=1)
    return path


@pytest.fixture(scope="module")
def experts(folder: Path) -> Experts:
    made = fresh(Base.load(folder))
    randomise(made, EXPERTS, size=0.5)
    return made


@pytest.fixture(scope="module")
def vllm(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmSampler]:
    sampler = VllmSampler(vllm_python(), folder, tmp_path_factory.mktemp("place") / "vllm")
    yield sampler
    sampler.close()


def alike(ours: list[list[list[int]]], theirs: list[list[list[int]]]) -> float:
    """The share of equal answers. Two programs round differently, and now and then a last bit decides a token."""
    pairs = [pair for one, other in zip(ours, theirs, strict=True) for pair in zip(one, other, strict=True)]
    return sum(one == other for one, other in pairs) / len(pairs)


def regions(experts: Experts) -> list[Query]:
    random = np.random.default_rng(3)
    images = [experts.base.fit(random.integers(0, 256, shape, dtype=np.uint8)) for shape in SHAPES]
    visuals = encode_images(experts.base, images)
    return [Query(experts.prompts.prompt(q, v), v) for q, v in zip(QUESTIONS, visuals, strict=True)]


def slides(experts: Experts) -> list[Query]:
    generator = torch.Generator().manual_seed(4)
    visuals = [Visual(torch.randn(n, experts.base.width, generator=generator)) for n in (5, 9)]
    return [Query(experts.prompts.prompt(q, v), v) for q, v in zip(QUESTIONS, visuals, strict=False)]


def scaled(queries: list[Query], factor: float) -> list[Query]:
    return [replace(q, visual=replace(q.visual, tokens=q.visual.tokens * factor)) for q in queries]


def engines() -> set[int]:
    """Which vLLMs this process has started and not ended."""
    return {process.pid for process in running(os.getpid(), "vllm_serve.py")}


def uniforms(queries: list[Query], seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((len(queries), 6, 24)))


@pytest.mark.nightly
@pytest.mark.parametrize(("scale", "asked"), [("roi", regions), ("wsi", slides)])
def test_answers_are_those_of_our_own_sampler(
    experts: Experts, vllm: VllmSampler, scale: str, asked: Callable[[Experts], list[Query]]
) -> None:
    """Catches experts that vLLM leaves out, mixes up between requests or scales otherwise, a prompt at other positions, an
    image's or slide's tokens in another order, deepstack features lost, and uniform numbers of another row or place.
    """
    queries, possible = asked(experts), tasks_at(scale)
    given = (experts, queries, uniforms(queries), experts.prompts.stop())
    with experts.gated(scale, declared(ASKED[scale], possible)):
        ours = rollout.sample(*given)
        assert alike(vllm(*given), ours) > ALIKE
    with experts.gated(scale, declared(tuple(reversed(ASKED[scale])), possible)):
        others = rollout.sample(*given)
        assert alike(vllm(*given), others) > ALIKE
    with experts.only(None, None):
        bare = rollout.sample(*given)
        assert alike(vllm(*given), bare) > ALIKE
    assert max(alike(ours, others), alike(ours, bare)) < 0.5, (
        "the experts say unlike things, or this shows nothing"
    )


@pytest.mark.nightly
def test_new_weights_serve_from_the_next_call_on(
    experts: Experts, vllm: VllmSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a step whose rollouts are of the experts before it; also after a call that ran out of memory on its way, which
    is taken again with less at once.
    """

    def full(*given: object) -> None:
        raise torch.OutOfMemoryError

    queries = regions(experts)
    given = (experts, queries, uniforms(queries), experts.prompts.stop())
    with experts.only("roi", "vqa"):
        before = vllm(*given)
        randomise(experts, ["task/vqa"], size=0.5, seed=9)
        with monkeypatch.context() as patch:
            patch.setattr("client.training.vllm._prompt", full)
            with pytest.raises(torch.OutOfMemoryError):
                vllm(*given)
        after = vllm(*given)
        assert alike(after, rollout.sample(*given)) > ALIKE
    assert alike(before, after) < 0.5


@pytest.mark.nightly
def test_who_was_sampled_before_changes_nothing(experts: Experts, vllm: VllmSampler) -> None:
    """Catches a cache, a batch or a row that outlives its call: one patient's presence would change another's rollouts.
    Keys and values that are no numbers did, out of blocks that were given out anew.
    """
    one, other = regions(experts)[:2], regions(experts)[2:]
    stop = experts.prompts.stop()
    with experts.only("roi", "detection"):
        alone = vllm(experts, one, uniforms(one), stop)
        for before in (other, [*one, *one, *one], one[:1], scaled(other, 1e30), scaled(other, float("nan"))):
            vllm(experts, before, uniforms(before, 5), stop)
            assert vllm(experts, one, uniforms(one), stop) == alone


@pytest.mark.nightly
def test_answers_stop_where_ours_do(experts: Experts, vllm: VllmSampler) -> None:
    """Catches an answer that goes on after its closing tag, or ends before all of the tag is written; one without an end
    goes on to the limit.
    """
    queries = regions(experts)
    with experts.only("roi", "vqa"):
        free = rollout.sample(experts, queries, uniforms(queries), Stop(-1))
        assert alike(vllm(experts, queries, uniforms(queries), Stop(-1)), free) > ALIKE
        letters = [
            str(t) for t in experts.base.tokenizer.convert_ids_to_tokens(range(len(experts.base.tokenizer)))
        ]
        text = experts.prompts.text
        tag = next(
            text(answer[i : i + 2])
            for group in free
            for answer in group
            for i in range(4, 20)
            if text(answer[i : i + 2]).isascii() and len(text(answer[i : i + 2]).strip()) == 2
        )
        stop = Stop(experts.prompts.end, tag, letters, text)
        ours = rollout.sample(experts, queries, uniforms(queries), stop)
        assert alike(vllm(experts, queries, uniforms(queries), stop), ours) > ALIKE
    assert any(tag in text(answer) for group in ours for answer in group)


@pytest.mark.nightly
def test_a_whole_round_samples_what_we_would(experts: Experts, vllm: VllmSampler) -> None:
    """Catches a round that leaves the sampler unused, hands it another patient's rows, or samples by weights of the step
    before.
    """
    asked = plan(
        experts.base.hash,
        "grpo",
        Mechanism(1.0, 0.0, 1.0, 3, 5),
        GRPO,
        rollouts=4,
        kl_beta=0.1,
        max_answer_tokens=12,
    )
    shares = []

    def both(
        experts: Experts, queries: Sequence[Query], numbers: Tensor, stop: Stop
    ) -> list[list[list[int]]]:
        ours, theirs = (by(experts, queries, numbers, stop) for by in (rollout.sample, vllm))
        shares.append(alike(ours, theirs))
        return theirs

    patients = [sample for name in "ab" for sample in samples_of(name)]
    train_round(
        experts,
        GRPO,
        patients,
        Inputs(experts.base),
        asked,
        2,
        SeededRandom(0),
        lambda done, of: None,
        sampler=both,
    )
    assert len(shares) == 3 * 2 * 2, "steps, patients and scales"
    assert np.mean(shares) > ALIKE


@pytest.mark.nightly
def test_a_vllm_that_dies_is_told_and_started_again(tmp_path: Path) -> None:
    """Catches a round that waits for ever, one that goes on with half of its rollouts, and adapters that stay on the disk."""
    FAMILIES["qwen3_vl"](tmp_path / "base", heads=1, kv_heads=1)
    experts, place = fresh(Base.load(tmp_path / "base")), tmp_path / "vllm"
    vllm = VllmSampler(vllm_python(), tmp_path / "base", place)
    queries = regions(experts)
    given = (experts, queries, uniforms(queries), experts.prompts.stop())
    with experts.only("roi", "vqa"):
        others = engines()
        first = vllm(*given)
        assert {oct(path.stat().st_mode & 0o077) for path in place.rglob("*") if not path.is_symlink()} == {
            "0o0"
        }
        (place / "vllm.log").write_bytes(b"words\n" * (1 << 18))
        assert vllm(*given) == first
        assert (place / "vllm.log").stat().st_size < 1 << 18, "a log that nobody empties fills a disk"
        (engine,) = engines() - others
        os.kill(engine, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"vllm\.log says why"):
            vllm(*given)
        assert not list(place.glob("work-*"))
        assert vllm(*given) == first
        vllm.close()
    assert not list(place.glob("work-*"))
    assert engines() == others


@pytest.mark.nightly
def test_a_base_that_vllm_reads_otherwise_is_refused(tmp_path: Path) -> None:
    """Catches rollouts of another model, taken for the base's: nothing else would tell."""
    FAMILIES["qwen3_vl"](tmp_path / "base", heads=1, kv_heads=1)
    experts = fresh(Base.load(tmp_path / "base"))
    with torch.no_grad():
        experts.base.language_model.norm.weight.mul_(-1)
    vllm = VllmSampler(vllm_python(), tmp_path / "base", tmp_path / "vllm")
    queries = regions(experts)
    with (
        experts.only("roi", "vqa"),
        pytest.raises(EngineError, match="does not compute what this base computes"),
    ):
        vllm(experts, queries, uniforms(queries), experts.prompts.stop())
    assert not list((tmp_path / "vllm").glob("work-*"))


@pytest.mark.parametrize(
    ("python", "told"),
    [(Path("/nowhere/python"), "can't be run"), (Path(sys.executable), r"vllm\.log says why")],
    ids=["no such file", "a Python without vLLM"],
)
def test_an_environment_without_vllm_is_told(
    tiny_base: Path, tmp_path: Path, python: Path, told: str
) -> None:
    """Catches a round that hangs on a process that never came, and a log that others can read."""
    experts, place = fresh(Base.load(tiny_base)), tmp_path / "vllm"
    vllm = VllmSampler(python, tiny_base, place)
    queries = regions(experts)
    with experts.only("roi", "vqa"), pytest.raises(EngineError, match=told):
        vllm(experts, queries, uniforms(queries), experts.prompts.stop())
    assert (place / "vllm.log").stat().st_mode & 0o777 == 0o600
    assert not list(place.glob("work-*"))
    if python.exists():
        assert "No module named 'vllm'" in (place / "vllm.log").read_text()


def test_more_ranks_than_vllm_takes_are_told(tiny_base: Path, tmp_path: Path) -> None:
    """Catches a campaign whose rollouts fail with words that only vLLM's own log has."""
    experts = attach(Base.load(tiny_base), same_form(EXPERTS, 300, 1.0), seed=7)
    queries = regions(experts)
    vllm = VllmSampler(Path(sys.executable), tiny_base, tmp_path / "vllm")
    with (
        experts.only("roi", "vqa"),
        pytest.raises(EngineError, match="600 ranks together, and vLLM takes 512"),
    ):
        vllm(experts, queries, uniforms(queries), experts.prompts.stop())
