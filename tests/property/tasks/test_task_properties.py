"""What holds for every answer: texts read back, rewards stay in [0, 1], nothing wrong that is added pays."""

from __future__ import annotations

import math
import unicodedata
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from client.tasks.frame import boxes_to_frame, on_grid, polygons_to_frame
from client.tasks.grammar import (
    BLANK,
    own_thought,
    parse_boxes,
    parse_polygons,
    parse_thinking,
    render_boxes,
    render_polygons,
)
from client.tasks.metrics import average_precision_50
from client.tasks.overlap import MATCH_IOU, dice, iou, mask
from client.tasks.registry import TASKS
from client.tasks.reward import format_reward, reward
from client.tasks.sample import Answer, Box, Boxes, Label, Polygon, Polygons, Region, Sample, Text
from client.tasks.wording import token_f1

REGION = Region(0, 0, 640, 360)


@st.composite
def a_box(draw: st.DrawFn, step: int = 1) -> Box:
    x1, y1 = (draw(st.integers(0, 1000 // step - 1)) for _ in range(2))
    x2, y2 = (draw(st.integers(start + 1, 1000 // step)) for start in (x1, y1))
    return Box(x1 * step, y1 * step, x2 * step, y2 * step)


@st.composite
def a_polygon(draw: st.DrawFn) -> Polygon:
    """A star-shaped outline, as pathologists draw them."""
    centre = [draw(st.integers(200, 800)) for _ in range(2)]
    radii = draw(st.lists(st.integers(20, 200), min_size=3, max_size=9))
    turns = [2 * math.pi * k / len(radii) for k in range(len(radii))]
    return Polygon(
        tuple(
            (round(centre[0] + r * math.cos(t)), round(centre[1] + r * math.sin(t)))
            for r, t in zip(radii, turns, strict=True)
        )
    )


letters = st.characters(categories=["L", "N"], exclude_characters="".join(BLANK))
words = st.lists(st.text(letters, min_size=1, max_size=8), min_size=1, max_size=6).map(" ".join)
some_boxes = st.lists(a_box(), max_size=6).map(lambda found: Boxes(tuple(found)))
some_polygons = st.lists(a_polygon(), max_size=3).map(lambda found: Polygons(tuple(found)))
some_regions = st.lists(st.one_of(a_polygon(), a_box()), max_size=4).map(lambda found: Polygons(tuple(found)))
answers: st.SearchStrategy[tuple[str, Answer]] = st.one_of(
    st.tuples(st.just("classification"), words.map(Label)),
    st.tuples(st.just("vqa"), words.map(Text)),
    st.tuples(st.just("detection"), some_boxes),
    st.tuples(st.just("segmentation"), some_polygons),
)
texts = st.one_of(
    st.text(max_size=60),
    words,
    some_boxes.map(render_boxes),
    some_regions.map(render_polygons),
    st.text("<>/bboxplyanswerthink[],0123456789 ", max_size=80),
)


def ask(task: str, answer: Answer) -> Sample:
    return Sample("p", "s.svs", REGION, task, "?", answer)


@given(some_boxes, some_regions)
def test_the_grammar_reads_back_what_it_wrote(boxes: Boxes, polygons: Polygons) -> None:
    """Would catch a coordinate, an object or their order lost between text and answer."""
    assert parse_boxes(render_boxes(boxes)) == boxes
    assert parse_polygons(render_polygons(polygons)) == polygons


@given(st.lists(a_box(step=10), max_size=6), some_regions, words)
def test_every_task_reads_back_what_it_wrote(boxes: list[Box], outlines: Polygons, text: str) -> None:
    """Would catch a training target that is not the true answer: parse(render(x)) == x."""
    cases: dict[str, Answer] = {
        "detection": Boxes(tuple(boxes)),
        "segmentation": outlines,
        "classification": Label(text),
        "vqa": Text(text),
    }
    for task, answer in cases.items():
        assert TASKS[task].parse(TASKS[task].render(answer)) == answer


@given(some_boxes, some_regions)
def test_snapping_twice_is_snapping_once(boxes: Boxes, polygons: Polygons) -> None:
    """Would catch targets that drift when they are written again; nothing moves by more than a step and a
    half."""
    once = on_grid(boxes, 10)
    assert isinstance(once, Boxes)
    assert on_grid(once, 10) == once
    assert on_grid(on_grid(polygons, 10), 10) == on_grid(polygons, 10)
    for box, snapped in zip(boxes.boxes, once.boxes, strict=True):
        for before, after in zip(
            (box.x1, box.y1, box.x2, box.y2), (snapped.x1, snapped.y1, snapped.x2, snapped.y2), strict=True
        ):
            assert abs(before - after) <= 14


@given(answers)
def test_the_true_answer_is_worth_one(case: tuple[str, Answer]) -> None:
    """Would catch a truth that its own reward does not accept. Written exactly, not on the grid."""
    task, answer = case
    if isinstance(answer, Boxes):
        text = render_boxes(answer)
    elif isinstance(answer, Polygons):
        text = render_polygons(answer)
    else:
        text = TASKS[task].render(answer)
    assert TASKS[task].reward(text, ask(task, answer)) == 1


@given(answers, texts)
def test_rewards_and_scores_stay_within_bounds(case: tuple[str, Answer], text: str) -> None:
    """Would catch a text that earns more than a right answer, a negative reward, or an exception on any
    text."""
    task, answer = case
    sample = ask(task, answer)
    assert 0 <= TASKS[task].reward(text, sample) <= 1
    assert all(0 <= score <= 1 for score in TASKS[task].score([(text, sample), (None, sample)]))
    assert 0 <= reward(TASKS[task], text, sample) <= 1.5
    assert 0 <= reward(TASKS[task], f"<think>a</think><answer>{text}</answer>", sample) <= 1.5


@given(some_boxes, some_boxes, a_box(), st.integers(0, 6))
def test_a_wrong_box_never_pays(predicted: Boxes, true: Boxes, wrong: Box, place: int) -> None:
    """Would catch spam that pays: a box with IoU under 0.5 with all true ones, put anywhere in the answer."""
    assume(not true.boxes or iou([wrong], true.boxes).max() < MATCH_IOU)
    sample = ask("detection", true)
    more = Boxes((*predicted.boxes[:place], wrong, *predicted.boxes[place:]))
    task = TASKS["detection"]
    before, after = task.reward(render_boxes(predicted), sample), task.reward(render_boxes(more), sample)
    assert after <= before + 1e-12
    assert (
        average_precision_50(more.boxes, true.boxes)
        <= average_precision_50(predicted.boxes, true.boxes) + 1e-12
    )


@given(some_polygons, some_polygons, a_box())
def test_a_region_beside_the_truth_never_pays(predicted: Polygons, true: Polygons, wrong: Box) -> None:
    """Would catch false regions that pay: one that shares no pixel with the true mask."""
    assume(not (mask([wrong]) & mask(true.polygons)).any())
    assume(not true.polygons or iou([wrong], [p.bounds() for p in true.polygons]).max() < MATCH_IOU)
    extra = Polygon(((wrong.x1, wrong.y1), (wrong.x2, wrong.y1), (wrong.x2, wrong.y2), (wrong.x1, wrong.y2)))
    sample = ask("segmentation", true)
    task = TASKS["segmentation"]
    before = task.reward(render_polygons(predicted), sample)
    assert task.reward(render_polygons(Polygons((*predicted.polygons, extra))), sample) <= before + 1e-12


@given(some_boxes, some_boxes, st.randoms(use_true_random=False))
def test_the_order_of_boxes_is_not_rewarded(predicted: Boxes, true: Boxes, random: Random) -> None:
    """Would catch a match by place in the list, on either side."""
    shuffled = [Boxes(tuple(random.sample(b.boxes, len(b.boxes)))) for b in (predicted, true)]
    before = TASKS["detection"].reward(render_boxes(predicted), ask("detection", true))
    after = TASKS["detection"].reward(render_boxes(shuffled[0]), ask("detection", shuffled[1]))
    assert after == pytest.approx(before, abs=1e-12)


@given(some_regions, some_polygons, st.randoms(use_true_random=False))
def test_the_order_of_regions_is_not_rewarded(predicted: Polygons, true: Polygons, random: Random) -> None:
    """Would catch a mask or a match that depends on what was drawn first."""
    shuffled = [Polygons(tuple(random.sample(p.polygons, len(p.polygons)))) for p in (predicted, true)]
    task = TASKS["segmentation"]
    before = task.reward(render_polygons(predicted), ask("segmentation", true))
    after = task.reward(render_polygons(shuffled[0]), ask("segmentation", shuffled[1]))
    assert after == pytest.approx(before, abs=1e-12)


@given(some_boxes, some_boxes, st.data())
def test_a_duplicate_box_never_pays(predicted: Boxes, true: Boxes, data: st.DataObject) -> None:
    """Would catch one find that is paid twice. The box that is given again fits one true box at most."""
    assume(predicted.boxes)
    again = data.draw(st.sampled_from(predicted.boxes))
    assume((iou([again], true.boxes) >= MATCH_IOU).sum() <= 1)
    sample, task = ask("detection", true), TASKS["detection"]
    before = task.reward(render_boxes(predicted), sample)
    assert task.reward(render_boxes(Boxes((*predicted.boxes, again))), sample) <= before + 1e-12


@given(some_regions, some_polygons, st.data())
def test_a_duplicate_region_never_pays(predicted: Polygons, true: Polygons, data: st.DataObject) -> None:
    """Would catch a region that counts more than once, in either half of the reward."""
    assume(predicted.polygons)
    again = data.draw(st.sampled_from(predicted.polygons))
    assume((iou([again.bounds()], [p.bounds() for p in true.polygons]) >= MATCH_IOU).sum() <= 1)
    sample, task = ask("segmentation", true), TASKS["segmentation"]
    before = task.reward(render_polygons(predicted), sample)
    assert task.reward(render_polygons(Polygons((*predicted.polygons, again))), sample) <= before + 1e-12


few_words = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6)


@given(few_words, few_words, few_words)
def test_words_beyond_the_cap_never_pay(true: list[str], said: list[str], more: list[str]) -> None:
    """Would catch an open answer won by reciting: after twice the true length (eight at least), nothing counts for it."""
    cap = max(2 * len(true), 8)
    heard = (said * cap)[:cap]
    before = token_f1(" ".join(heard), " ".join(true))
    assert token_f1(" ".join(heard + more), " ".join(true)) <= before


@given(some_boxes, st.integers(1, 5))
def test_a_repeated_box_never_pays(predicted: Boxes, times: int) -> None:
    """Would catch a true box that counts more than once."""
    sample = ask("detection", predicted)
    more = Boxes(predicted.boxes + predicted.boxes[:1] * times)
    assume(predicted.boxes)
    assert TASKS["detection"].reward(render_boxes(more), sample) < 1


@given(some_polygons, some_polygons)
def test_overlap_is_symmetric(a: Polygons, b: Polygons) -> None:
    """Would catch a measure that treats predicted and true differently."""
    assert dice(mask(a.polygons), mask(b.polygons)) == dice(mask(b.polygons), mask(a.polygons))


untagged = st.text(st.characters(exclude_characters="<"), max_size=40)


@given(untagged, untagged)
def test_thinking_reads_back_or_refuses(thought: str, answer: str) -> None:
    """Would catch an answer that picks up part of the thought, whatever stands in it."""
    parsed = parse_thinking(f"<think>{thought}</think><answer>{answer}</answer>")
    seen = any(unicodedata.category(letter)[0] in "LNPS" and letter not in BLANK for letter in thought)
    assert parsed == (answer.strip() if seen else None)


@given(a_box(), st.integers(100, 3000), st.integers(100, 3000), st.integers(0, 5000), st.integers(0, 5000))
def test_the_frame_is_the_same_for_boxes_and_outlines(
    box: Box, width: int, height: int, x: int, y: int
) -> None:
    """Would catch boxes and outlines in two frames, in regions of any shape and place."""
    region = Region(x, y, width, height)
    x1, x2 = (x + value * width / 1000 for value in (box.x1, box.x2))
    y1, y2 = (y + value * height / 1000 for value in (box.y1, box.y2))
    (converted,) = boxes_to_frame([[x1, y1, x2, y2]], region).boxes
    (outline,) = polygons_to_frame([[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]], region).polygons
    assert converted == outline.bounds() == box


@given(st.text(max_size=60))
def test_a_known_answer_stands_in_the_form_after_whatever_the_model_said(said: str) -> None:
    """Would catch a thought that closes its block early, opens a second one, or swallows the answer."""
    thought = own_thought(said)
    assert not any(tag in thought for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    if thought:
        assert parse_thinking(f"<think>{thought}</think><answer>tumour</answer>") == "tumour"


UNSEEN = [
    "",
    " \n",
    "\u200b",
    "\ufeff\u2060",
    "\u00a0\u00ad",
    "\x00\x1b",
    "\u2800",
    "\u3164 \uffa0",
    "\ufe0f\u034f\u17b4",
]


@pytest.mark.parametrize("thought", UNSEEN)
def test_a_thought_that_nobody_sees_is_none(thought: str) -> None:
    """Would catch the format's reward for a block that only looks empty."""
    assert parse_thinking(f"<think>{thought}</think><answer>fat</answer>") is None
    assert parse_thinking(f"<think>{thought}x{thought}</think><answer>fat</answer>") == "fat"


@pytest.mark.parametrize("answer", [*UNSEEN, "?", "...", " \u200b! "])
def test_an_answer_that_says_nothing_is_none(answer: str) -> None:
    """Would catch the format's reward for an answer without a word, of which there is no true one."""
    for task in ("classification", "vqa"):
        assert TASKS[task].parse(answer) is None
        assert format_reward(TASKS[task], f"<think>glands</think><answer>{answer}</answer>") == 0
        assert TASKS[task].parse(f"fat{answer}") is not None


@pytest.mark.parametrize(
    ("said", "thought"),
    [
        ("<think>2 tumour</think><answer>none</answer>", "2 tumour"),
        ("<think>never ends", "never ends"),
        ("yes", "yes"),
        ("<answer>yes</answer>", "yes"),
        ("<think>\u200b\u200d \ufeff</think><answer>yes</answer>", ""),
        ("", ""),
    ],
)
def test_the_thought_is_what_the_model_came_to(said: str, thought: str) -> None:
    """Would catch an answer of the model's own that is taken for the known one."""
    assert own_thought(said) == thought
