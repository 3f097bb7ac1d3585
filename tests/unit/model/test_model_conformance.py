"""One set of tests for every family of base models that is served, on tiny models of the family's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, DynamicCache, Idefics3Processor

from client.model.architectures.registry import ARCHITECTURES
from client.model.base import Base
from client.model.errors import BaseModelError
from client.model.experts import Experts
from client.model.forward import Query, answer_logprobs, read
from client.model.prompt_tokens import PromptBuilder
from client.model.stop import Stop
from client.model.visual import Visual, encode_images
from client.tasks.prompt import asked_to_think, direct
from client.tasks.registry import TASKS
from client.training import grpo
from client.training.batch import Performance
from client.training.rollout import greedy, sample
from client.training.round import stage_gradients, train_round
from privacy.experts import EXPERTS
from privacy.mechanism import Mechanism
from privacy.randomness import SeededRandom
from tests.model_cases import GRPO, SFT, Inputs, draw_of, fresh, norm, plan, samples_of
from tests.tiny_families import FAMILIES, SIDE

SHAPES = ((64, 64, 3), (32, 64, 3), (48, 60, 3), (20, 31, 3))
QUESTIONS = ("How many?", "Is there any fat to be seen here?", "Which?", "Where is the tumour?")
PATIENTS = [s for name in "abc" for s in samples_of(name)]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder of each family."""
    path = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](path)
    return path


@pytest.fixture
def base(folder: Path) -> Base:
    return Base.load(folder)


@pytest.fixture
def rewarding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards that random text earns too, so that they differ in a group."""
    monkeypatch.setattr(grpo, "reward", lambda task, text, sample: sum(text.encode()) % 11 / 10)


def regions() -> list[np.ndarray]:
    """Images of sizes that fit, and of sizes that the processor resizes."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, shape, dtype=np.uint8) for shape in SHAPES]


def their_pixels(folder: Path, image: np.ndarray) -> dict[str, Any]:
    """What the base's own processor makes of an image."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    return dict(processor([Image.fromarray(image)], return_tensors="pt"))


def asked(base: Base, experts: Experts) -> list[Query]:
    visuals = encode_images(base, [base.fit(image) for image in regions()])
    return [Query(experts.prompts.prompt(q, v), v) for q, v in zip(QUESTIONS, visuals, strict=True)]


def their_inputs(folder: Path, base: Base, image: np.ndarray, ids: Tensor) -> dict[str, Any]:
    """The whole model's arguments for a prompt about an image."""
    given = {"input_ids": ids[None], **their_pixels(folder, image)}
    if base.architecture.axes == 3:
        given["mm_token_type_ids"] = (ids == base.model.config.image_token_id).int()[None]
    return given


def test_every_family_that_is_served_is_tested() -> None:
    """Catches a family that is loaded and was never tried."""
    assert set(FAMILIES) == set(ARCHITECTURES)


@torch.no_grad()
def test_answers_score_as_in_the_models_own_forward(folder: Path, base: Base) -> None:
    """Catches pixels, placeholders, positions, masks or a cache other than the model's own: images of unlike sizes,
    padded prompts and answers, experts on, through the pixels' path of transformers' own forward."""
    experts = fresh(base)
    queries = asked(base, experts)
    owner = torch.tensor([0, 3, 1, 2, 2])
    answers = [experts.prompts.answer(text) for text in ("3", "seven", "no", "", "a longer answer than all")]
    with experts.only("roi", "vqa"):
        logprobs, real = answer_logprobs(experts, read(experts, queries).rows(owner), answers)
        for row, (index, ids) in enumerate(zip(owner.tolist(), answers, strict=True)):
            full = torch.cat([queries[index].prompt.ids, torch.tensor(ids)])
            logits = base.model(**their_inputs(folder, base, regions()[index], full)).logits[0]
            theirs = torch.log_softmax(logits[-len(ids) - 1 : -1], -1)
            expected = theirs[torch.arange(len(ids)), torch.tensor(ids)]
            torch.testing.assert_close(logprobs[row, : len(ids)], expected, atol=1e-4, rtol=1e-4)
            assert real[row].sum() == len(ids)


def test_prompts_are_those_of_the_models_own_processor(folder: Path, base: Base) -> None:
    """Catches placeholders that the processor would not write. The Qwen processors need torchvision: of them, the
    number of image tokens is the image processor's own, and the rest the chat template's."""
    processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]}]
    told = str(base.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
    for image in regions():
        visual = encode_images(base, [base.fit(image)])[0]
        ours, thinking = (
            PromptBuilder(base).prompt(words, visual)
            for words in (QUESTIONS[0], asked_to_think(QUESTIONS[0]))
        )
        if base.architecture.axes == 1:
            whole = Idefics3Processor(processor, base.tokenizer, image_seq_len=4)
            theirs = whole(images=[[Image.fromarray(image)]], text=told)["input_ids"][0]
        else:
            patches = processor.get_number_of_image_patches(*image.shape[:2])
            theirs = base.tokenizer(told.replace("<|image_pad|>", "<|image_pad|>" * (patches // 4)))[
                "input_ids"
            ]
        assert ours.ids.tolist() == theirs
        assert base.tokenizer.decode(ours.ids[ours.instruction]) == QUESTIONS[0]
        assert base.tokenizer.decode(thinking.ids[thinking.instruction]).rstrip() == QUESTIONS[0]


def test_positions_are_the_models_own(folder: Path, base: Base) -> None:
    """Catches rows and columns swapped, or an answer that starts at the wrong position after an image."""
    experts = fresh(base)
    for image, query in zip(regions(), asked(base, experts), strict=True):
        prompt, count = query.prompt, len(query.prompt)
        if base.architecture.axes == 1:
            assert torch.equal(prompt.positions, torch.arange(count)[None])
            assert prompt.next_position == count
        else:
            given = their_inputs(folder, base, image, prompt.ids)
            positions, deltas = base.model.model.get_rope_index(
                given["input_ids"], given["mm_token_type_ids"], image_grid_thw=given["image_grid_thw"]
            )
            assert torch.equal(prompt.positions, positions[:, 0])
            assert prompt.next_position == count + int(deltas[0])


def test_no_region_becomes_more_than_the_largest(base: Base) -> None:
    """Catches a memory planner that is told too little: thin images grow, others are cut."""
    largest = base.architecture.largest(SIDE)
    images = [
        np.zeros((*shape, 3), np.uint8)
        for shape in (
            (64, 64),
            (1, 64),
            (64, 9),
            (33, 64),
            (5, 5),
            (50, 20),
            (200, 200),
            (90, 150),
            (300, 5),
            (300, 1),
        )
    ]
    tokens = [len(v.tokens) for v in encode_images(base, [base.fit(image) for image in images])]
    assert max(tokens) <= largest.tokens <= 2 * max(tokens)
    assert largest.patches == largest.tokens * 4


@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (65, 65)], ids=str)
def test_a_larger_image_is_brought_down_whole(base: Base, shape: tuple[int, int]) -> None:
    """Catches a shrink that fails, swaps the sides, cuts instead, or brings the image to another size than asked for."""
    image = np.zeros((*shape, 3), np.uint8)
    image[shape[0] // 2 :] += 100
    image[:, shape[1] // 2 :] += 50
    fitted = base.fit(image)
    assert fitted.dtype == np.uint8
    for side, was in zip(fitted.shape[:2], shape, strict=True):
        assert side == SIDE if was == max(shape) else abs(side - SIDE * was / max(shape)) <= SIDE / 4
    assert [int(fitted[y, x, 0]) for y in (2, -3) for x in (2, -3)] == [0, 50, 100, 150]
    (visual,) = encode_images(base, [fitted])
    assert 0 < len(visual.tokens) <= base.architecture.largest(SIDE).tokens


def test_an_image_thinner_than_a_pixel_once_it_is_brought_down_is_read(base: Base) -> None:
    """Catches a side of no pixels, which no processor takes."""
    for shape in ((300, 1), (1, 300)):
        (visual,) = encode_images(base, [base.fit(np.zeros((*shape, 3), np.uint8))])
        assert torch.isfinite(visual.tokens).all()
        assert len(visual.tokens) > 0


@torch.no_grad()
def test_a_slides_features_stand_in_place_of_an_image(base: Base) -> None:
    """Catches a projector left out, features at other places, or padding read as tissue."""
    experts = fresh(base)
    visuals = [Visual(torch.randn(n, base.width)) for n in (4, 7)]
    queries = [Query(experts.prompts.prompt("Diagnosis?", v), v) for v in visuals]
    answers = [experts.prompts.answer("benign")] * 2
    with experts.only("wsi", "vqa"):
        together, _ = answer_logprobs(experts, read(experts, queries), answers)
        for row, query in enumerate(queries):
            ids = torch.cat([query.prompt.ids, torch.tensor(answers[row])])
            embeds = base.language_model.embed_tokens(ids)[None].clone()
            embeds[0, query.prompt.visual.nonzero()[:, 0]] = experts.projector(query.visual.tokens)
            hidden = base.language_model(inputs_embeds=embeds).last_hidden_state[0]
            logits = base.model.lm_head(hidden[-len(answers[row]) - 1 : -1])
            expected = torch.log_softmax(logits, -1)[
                torch.arange(len(answers[row])), torch.tensor(answers[row])
            ]
            torch.testing.assert_close(together[row], expected, atol=1e-4, rtol=1e-4)


def test_greedy_answers_equal_the_models_own_generate(folder: Path, base: Base) -> None:
    """Catches a cache that shifts positions, a wrong mask in decoding, or rows mixed up when some have ended."""
    experts = fresh(base)
    queries = asked(base, experts)
    with experts.only("roi", "vqa"):
        end = greedy(experts, queries, 16, Stop(-1))[0][5]
        ours = greedy(experts, queries, 16, Stop(end))
        for image, query, answer in zip(regions(), queries, ours, strict=True):
            ids = query.prompt.ids
            theirs = base.model.generate(
                **their_inputs(folder, base, image, ids),
                attention_mask=torch.ones_like(ids)[None],
                do_sample=False,
                max_new_tokens=16,
                eos_token_id=end,
                pad_token_id=end,
            )[0, len(ids) :]
            assert answer == theirs.tolist()
        uniforms = torch.from_numpy(np.random.default_rng(0).random((4, 3, 8)))
        together = sample(experts, queries, uniforms, Stop(end))
        assert together[2] == sample(experts, queries[2:3], uniforms[2:3], Stop(end))[0]


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_step_of_each_stage_trains_what_it_names(base: Base, stage: str, rewarding: None) -> None:
    """Catches a family whose experts get no gradient, or whose frozen parts move. Of the tasks, those that are asked
    about move."""
    experts = fresh(base)
    trained, frozen = (SFT, GRPO) if stage == "sft" else (GRPO, SFT)
    before = {name: experts.export(name) for name in EXPERTS}
    weights = {k: v.clone() for k, v in base.model.state_dict().items() if ".lora_" not in k}
    extra = {} if stage == "sft" else {"rollouts": 2, "kl_beta": 0.1, "max_answer_tokens": 5}
    asked_for = plan(base.hash, stage, Mechanism(1.0, 0.0, 1.0, 1, 5), trained, **extra)
    train_round(
        experts, trained, PATIENTS, Inputs(base), asked_for, 3, SeededRandom(0), lambda step, of: None
    )
    for name in frozen:
        assert all(np.array_equal(before[name][key], value) for key, value in experts.export(name).items())
    asked_about = {f"task/{sample.task}" for sample in PATIENTS}
    for name in trained if stage == "sft" else asked_about:
        assert all((before[name][key] != value).any() for key, value in experts.export(name).items()), name
    after = base.model.state_dict()
    assert all(torch.equal(weights[key], after[key]) for key in weights)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_patients_gradient_is_its_own(base: Base, stage: str, rewarding: None) -> None:
    """Catches a batch that leaks between patients in a family's own padding, positions or cache: all together, one row
    at a time, with layers computed again, and each patient alone give the same."""
    experts = fresh(base)
    trained = SFT if stage == "sft" else GRPO
    extra = {} if stage == "sft" else {"rollouts": 3, "kl_beta": 0.1, "max_answer_tokens": 5}
    asked_for = plan(base.hash, stage, Mechanism(1.0, 0.0, 1.0, 1, 5), trained, **extra)
    drawn, seeds, inputs = (
        [samples_of("a"), samples_of("b")[:2], samples_of("c")[3:]],
        [3, 4, 5],
        Inputs(base),
    )

    def of(who: list[int], performance: Performance) -> dict[str, Tensor]:
        own, theirs = [drawn[i] for i in who], [seeds[i] for i in who]
        return stage_gradients(draw_of(experts, trained, own, theirs, inputs, asked_for, performance))

    together = of([0, 1, 2], Performance())
    slowly = of([0, 1, 2], Performance(tokens=1, sampled_tokens=1))
    again = of([0, 1, 2], Performance(checkpointing=True))
    for patient in range(3):
        alone = {key: value[0] for key, value in of([patient], Performance()).items()}
        assert norm(alone) > 1e-3
        for other in (together, slowly, again):
            apart = norm({key: other[key][patient] - alone[key] for key in alone})
            assert apart <= 1e-5 * norm(alone)


def test_a_gradient_is_autograds(base: Base) -> None:
    """Catches a hand-written backward pass that is wrong under a family's own layers (biases, norms, shapes)."""
    experts = fresh(base)
    samples = samples_of("a")[:4]
    visuals = Inputs(base)(samples)
    parameters = experts.trainable(["scale/roi"])
    asked_for = plan(base.hash, "sft", Mechanism(1.0, 0.0, 1.0, 1, 5), ["scale/roi"])
    seed = next(s for s in range(1000) if np.random.Generator(np.random.Philox(s)).random(4).min() >= 0.5)
    ours = stage_gradients(draw_of(experts, ["scale/roi"], [samples], [seed], Inputs(base), asked_for))
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    total = torch.zeros(())
    for one, visual in zip(samples, visuals, strict=True):
        query = Query(experts.prompts.prompt(direct(one), visual), visual)
        ids = experts.prompts.answer(TASKS[one.task].render(one.answer))
        with experts.only("roi", None):
            total = total - answer_logprobs(experts, read(experts, [query]), [ids])[0].mean() / 4
    found = dict(zip(parameters, torch.autograd.grad(total, list(parameters.values())), strict=True))
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    assert norm(found) > 1e-3
    assert norm({key: ours[key][0] - found[key] for key in found}) < 1e-5 * norm(found)


def test_experts_travel_between_two_copies_of_a_base(folder: Path, base: Base) -> None:
    """Catches a family whose tensors are named by the order of loading, or are not all exported."""
    experts = fresh(base)
    other = fresh(Base.load(folder))
    for name in EXPERTS:
        other.load(name, {key: np.zeros_like(value) for key, value in other.export(name).items()})
        other.load(name, experts.export(name))
    results = []
    for each in (experts, other):
        with torch.no_grad(), each.only("roi", "detection"):
            results.append(read(each, asked(each.base, each)).last)
    torch.testing.assert_close(*results)
    assert len(experts.shapes("scale/roi")) == 14


def test_bfloat16(base: Base) -> None:
    """Catches a family that mixes types in bfloat16: the step runs, stays near float32's, and experts stay float32."""
    experts = fresh(base)
    inputs = Inputs(base)
    asked_for = plan(base.hash, "sft", Mechanism(1.0, 0.0, 1.0, 1, 5), SFT)
    drawn, seeds = [samples_of("a"), samples_of("b")[:2]], [3, 4]
    parameters = experts.trainable(SFT)
    exact = stage_gradients(draw_of(experts, SFT, drawn, seeds, inputs, asked_for))
    base.model.to(torch.bfloat16)
    half = fresh(base)
    parameters = half.trainable(SFT)
    assert {p.dtype for p in parameters.values()} == {torch.float32}
    half_inputs = Inputs(base)
    rounded = stage_gradients(draw_of(half, SFT, drawn, seeds, half_inputs, asked_for))
    flat = [torch.cat([value.flatten() for _, value in sorted(g.items())]) for g in (exact, rounded)]
    assert torch.isfinite(flat[1]).all()
    assert float(torch.cosine_similarity(flat[0], flat[1], dim=0)) > 0.95
    with half.only("roi", "vqa"):
        queries = asked(base, half)
        assert read(half, queries).last.dtype == torch.bfloat16
        assert len(greedy(half, queries, 4, Stop(-1))[0]) == 4


def test_the_decoder_takes_what_it_is_told_as_the_protocol_says(base: Base) -> None:
    """Catches a decode that grows no cache, or hidden states of another shape."""
    architecture, cache = base.architecture, DynamicCache()
    for start in (0, 5):
        embeds = torch.randn(2, 5, base.width)
        positions = (start + torch.arange(5)).expand(architecture.axes, 2, -1)
        assert architecture.decode(embeds, positions, cache).shape == (2, 5, base.width)
        assert cache.get_seq_length() == start + 5


def test_another_family_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    """Catches a model that loads and then answers nonsense."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(BaseModelError, match=r"llava.*served are qwen2_5_vl"):
        Base.load(tmp_path)
