"""The rewards, and each known way to win one without knowing the answer."""

from __future__ import annotations

import pytest

from client.tasks.prompt import THINK_INSTRUCTION, direct, thinking
from client.tasks.registry import TASKS
from client.tasks.reward import format_reward, reward
from client.tasks.sample import (
    Answer,
    Box,
    Boxes,
    Label,
    Polygon,
    Polygons,
    Region,
    Sample,
    Text,
)

REGION = Region(0, 0, 512, 256)


def ask(task: str, answer: Answer, choices: tuple[str, ...] = ()) -> Sample:
    return Sample("p1", "a.svs", REGION, task, "What is it?", answer, choices)


def worth(sample: Sample, text: str) -> float:
    return TASKS[sample.task].reward(text, sample)


def boxes(*corners: tuple[int, int, int, int]) -> Sample:
    return ask("detection", Boxes(tuple(Box(*c) for c in corners)))


def written(*corners: tuple[int, int, int, int]) -> str:
    return "".join(f"<bbox>[{a},{b},{c},{d}]</bbox>" for a, b, c, d in corners)


def outlines(*corners: tuple[int, int, int, int]) -> Sample:
    squares = tuple(Polygon(((a, b), (c, b), (c, d), (a, d))) for a, b, c, d in corners)
    return ask("segmentation", Polygons(squares))


@pytest.mark.parametrize("text", ["normal", "Normal.", " NORMAL ", "normal\n"])
def test_the_true_label_is_worth_one(text: str) -> None:
    """Would catch a comparison that trips over case, a full stop or spaces."""
    assert worth(ask("classification", Label("normal")), text) == 1


@pytest.mark.parametrize(
    ("text", "true"),
    [("tumor", "tumour"), ("Adipose tissue", "fat"), ("high grade", "high-grade"), ("necrotic", "necrosis")],
)
def test_synonyms_and_spellings_are_the_same_answer(text: str, true: str) -> None:
    """Would catch a right answer that is punished for its spelling; the map must work both ways."""
    assert worth(ask("classification", Label(true)), text) == 1
    assert worth(ask("classification", Label(text)), true) == 1


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("tumour necrosis stroma", "tumour, necrosis, stroma"),
        ("tumor, high grade", "tumour, high-grade"),
        ("adenocarcinoma colon", "adenocarcinoma (colon)"),
        ("HER2 +", "HER2 (+)"),
        ("grade 2; margins clear.", "Grade 2, margins clear"),
    ],
)
def test_punctuation_between_words_is_none_of_the_answer(text: str, true: str) -> None:
    """Would catch words that keep a comma or a bracket: they share nothing with the same words without, and no spelling."""
    assert worth(ask("classification", Label(true)), text) == 1
    assert worth(ask("classification", Label(text)), true) == 1


@pytest.mark.parametrize(
    ("text", "true"),
    [("HER2-", "HER2+"), ("HER2 +", "HER2+"), ("grade 1", "grade 11"), ("1,5", "15"), ("?", "!")],
)
def test_normalisation_keeps_what_carries_meaning(text: str, true: str) -> None:
    """Would catch signs and numbers that are normalised away, and two empty remains taken for equal."""
    assert worth(ask("classification", Label(true)), text) == 0


@pytest.mark.parametrize(
    ("text", "value"), [("yes", 1), ("Yes.", 1), ("no", 0), ("yes no", 0), ("y", 0), ("", 0)]
)
def test_a_closed_question_wants_the_exact_option(text: str, value: float) -> None:
    """Would catch partial credit on yes-or-no questions, with which saying both would pay."""
    assert worth(ask("vqa", Text("yes")), text) == value
    assert worth(ask("vqa", Text("yes"), ("yes", "no")), text) == value


@pytest.mark.parametrize(("text", "value"), [("3", 1), ("3.", 1), ("0 1 2 3 4", 0), ("13", 0), ("2", 0)])
def test_a_count_is_right_or_wrong(text: str, value: float) -> None:
    """Would catch counts answered by listing all numbers."""
    assert worth(ask("vqa", Text("3")), text) == value


def test_an_open_question_is_worth_the_words_it_shares() -> None:
    """Would catch a wrong F1: two of three words said, two of four meant: 2 * 2 / (3 + 4)."""
    sample = ask("vqa", Text("dense sheets of lymphocytes"))
    assert worth(sample, "dense sheets here") == pytest.approx(4 / 7)
    assert worth(sample, "Dense sheets of lymphocytes.") == 1
    assert worth(sample, "fat") == 0


def test_exact_boxes_are_worth_one_in_any_order() -> None:
    """Would catch a match by position in the list."""
    sample = boxes((0, 0, 100, 100), (500, 500, 700, 900))
    assert worth(sample, written((500, 500, 700, 900), (0, 0, 100, 100))) == 1


def test_hand_worked_detection() -> None:
    """Would catch a wrong IoU or denominator: IoUs 0.8 and 0.4 (which is no match), three predicted, two
    true."""
    sample = boxes((0, 0, 100, 100), (500, 500, 600, 600))
    text = written((0, 0, 100, 80), (500, 500, 540, 600), (800, 800, 900, 900))
    assert worth(sample, text) == pytest.approx(0.8 / 3)


def test_an_overlap_of_a_half_is_a_match() -> None:
    """Would catch a match from above 0.5 on only: half of the true box has IoU 0.5 exactly."""
    sample = boxes((0, 0, 100, 100))
    assert worth(sample, written((0, 0, 100, 50))) == 0.5
    assert worth(sample, written((0, 0, 100, 49))) == 0


def test_the_best_matching_counts_not_the_first() -> None:
    """Would catch greedy matching: the first box fits both true ones, the second only one of them."""
    sample = boxes((0, 0, 100, 100), (0, 0, 100, 60))
    text = written((0, 0, 100, 80), (0, 0, 100, 100))
    assert worth(sample, text) == pytest.approx((0.75 + 1) / 2)


def test_nothing_is_an_answer() -> None:
    """Would catch `none` that always or never pays."""
    assert worth(boxes(), "none") == 1
    assert worth(boxes(), written((0, 0, 10, 10))) == 0
    assert worth(boxes((0, 0, 10, 10)), "none") == 0
    assert worth(outlines(), "none") == 1
    assert worth(outlines(), "<poly>[0,0,10,0,10,10]</poly>") == 0
    assert worth(outlines((0, 0, 500, 500)), "none") == 0


def test_exact_outlines_are_worth_one_and_so_are_their_boxes_here() -> None:
    """Would catch a mask or box half that is not the answer's own. The true outlines are rectangles."""
    corners = ((0, 0, 400, 300), (500, 500, 900, 1000))
    sample = outlines(*corners)
    assert worth(sample, TASKS["segmentation"].render(sample.answer)) == 1
    assert worth(sample, written(*corners)) == 1


@pytest.mark.parametrize("corner", [(0, 0), (500, 501), (997, 3), (999, 999)])
def test_an_exact_outline_about_no_pixels_centre_is_worth_one(corner: tuple[int, int]) -> None:
    """Catches small nuclei in a large region, of which the true outline itself earned nothing."""
    x, y = corner
    thin = Polygons((Polygon(((x, y), (x + 1, y), (x + 1, y + 1))),))
    sample = ask("segmentation", thin)
    assert worth(sample, TASKS["segmentation"].render(thin)) == 1
    assert worth(sample, "<poly>[300,300,301,300,301,301]</poly>") == 0


def test_a_segmentation_may_mix_outlines_and_boxes() -> None:
    """Would catch an answer of which only the outlines, or only the boxes, are seen."""
    sample = outlines((0, 0, 400, 400), (500, 500, 900, 900))
    mixed = "<poly>[0,0,400,0,400,400,0,400]</poly><bbox>[500,500,900,900]</bbox>"
    assert worth(sample, mixed) == 1
    assert TASKS["segmentation"].score([(mixed, sample)]) == [1]
    assert worth(boxes((0, 0, 400, 400), (500, 500, 900, 900)), mixed) == 0  # detection takes boxes alone


def test_hand_worked_segmentation() -> None:
    """Would catch wrong halves: a triangle that is half of its box has box reward 1 and Dice 2 * .5 / 1.5."""
    assert worth(outlines((0, 0, 800, 800)), "<poly>[0,0,800,0,800,800]</poly>") == pytest.approx(
        (1 + 2 / 3) / 2, abs=0.01
    )


NORMAL = ask("classification", Label("normal"), ("normal", "tumour", "fat"))
GRADE = ask("vqa", Text("grade two tumour"), ("grade one tumour", "grade two tumour"))
OPEN = ask("vqa", Text("dense lymphocytes"))
VOCABULARY = " ".join(f"w{i}" for i in range(60))
TWO = ((0, 0, 100, 100), (500, 500, 700, 900))
SPAM = [(10 * i, 950, 10 * i + 10, 990) for i in range(50)]
SQUARE = outlines((100, 100, 300, 300))
SLIVER = ask("segmentation", Polygons((Polygon(((0, 0), (1, 0), (1, 1))),)))
HACKS: dict[
    str, tuple[Sample, str, float]
] = {  # the question, what is said without knowing, what it is worth
    "label: nothing": (NORMAL, "", 0),
    "label: one letter of it": (NORMAL, "n", 0),
    "label: its beginning": (NORMAL, "norm", 0),
    "label: a word that holds it": (NORMAL, "abnormal", 0),
    "label: it and its opposite": (NORMAL, "normal abnormal", 0),
    "label: one or the other": (NORMAL, "normal or tumour", 0),
    "label: denied": (NORMAL, "not normal", 0),
    "label: all of them": (NORMAL, "normal, tumour, fat", 0),
    "label: a full stop": (NORMAL, ".", 0),
    "label: a hyphen": (NORMAL, "-", 0),
    "closed: both": (ask("vqa", Text("yes")), "yes no", 0),
    "closed: the words that all choices share": (GRADE, "grade tumour", 0),
    "closed: another choice that shares words": (GRADE, "grade one tumour", 0),
    "count: all numbers": (ask("vqa", Text("3")), "0 1 2 3 4", 0),
    "count: a tenth of it": (ask("vqa", Text("5")), ".5", 0),
    "count: its digits, one of them raised": (ask("vqa", Text("102")), "10²", 0),
    "range: the other way round": (ask("vqa", Text("10-20")), "20 10", 0),
    "fraction: one number of it": (ask("vqa", Text("1/2")), "2", 0),
    "open: all three grades": (ask("vqa", Text("mild")), "mild moderate severe", 0),
    "open: the answer, then a vocabulary": (OPEN, f"dense lymphocytes {VOCABULARY}", 4 / 64),
    "open: a vocabulary, then the answer": (OPEN, f"{VOCABULARY} dense lymphocytes", 0),
    "open: one right word four times": (OPEN, "dense dense dense dense", 2 / 6),
    "boxes: the true ones and fifty more": (boxes(*TWO), written(*TWO, *SPAM), 2 / 52),
    "boxes: fifty without the true ones": (boxes(*TWO), written(*SPAM), 0),
    "boxes: a true one ten times": (boxes(TWO[1]), written(*[TWO[1]] * 10), 1 / 10),
    "boxes: the whole image": (boxes(*TWO), written((0, 0, 1000, 1000)), 0),
    "boxes: just under IoU 0.5": (boxes(TWO[0]), written((0, 0, 100, 49)), 0),
    "boxes: none, where there are some": (boxes(*TWO), "none", 0),
    "boxes: some, where there are none": (boxes(), written(TWO[0]), 0),
    "mask: the whole image": (SQUARE, written((0, 0, 1000, 1000)), 0.04 / 1.04),
    "mask: a square twice": (SQUARE, written(*[(100, 100, 300, 300)] * 2), (1 / 2 + 1) / 2),
    "mask: none, where there is one": (SQUARE, "none", 0),
    "mask: a line across it": (SQUARE, "<poly>[100,100,300,300,200,200]</poly>", 0),
    "mask: another sliver without a pixel": (SLIVER, "<poly>[900,900,901,900,901,901]</poly>", 0),
}


@pytest.mark.parametrize("name", HACKS)
def test_a_known_way_to_win_without_knowing_is_worth_what_it_should(name: str) -> None:
    """Would catch substring matching, hedging, recitation, box spam, duplicates, and answers that cover everything."""
    sample, text, value = HACKS[name]
    assert worth(sample, text) == pytest.approx(value, abs=1e-3)


UNREADABLE = [
    "",
    "a gland at [0,0,10,10]",
    "[0,0,10,10]",
    "<bbox>[0,0,10]</bbox>",
    "<bbox>[0,0,10,10,20]</bbox>",
    "<bbox>[10,10,0,0]</bbox>",
    "<bbox>[0,0,0,10]</bbox>",
    "<bbox>[0,0,10,1001]</bbox>",
    "<bbox>[0,0,10,-1]</bbox>",
    "<bbox>[0,0,10,1e1]</bbox>",
    "<bbox>[0,0,10,10]</bbox> and more",
    "<bbox>[0,0,10,10]</bbox>none",
    "none none",
    "<bbox>[0,0,10,10]",
    "<bbox>[0,0,10,10]</bbox><bbox>[10,0,0,10]</bbox>",
    "<bbox>[0,0,10,99999999999999999999]</bbox>",
]


@pytest.mark.parametrize("text", UNREADABLE)
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_an_answer_that_cannot_be_read_is_worth_nothing(task: str, text: str) -> None:
    """Would catch a parser that guesses, or one that an odd text stops with an exception."""
    kind = Boxes if task == "detection" else Polygons
    for answer in (
        kind(()),
        boxes((0, 0, 10, 10)).answer if task == "detection" else outlines((0, 0, 10, 10)).answer,
    ):
        assert worth(ask(task, answer), text) == 0


@pytest.mark.parametrize(
    "text", ["<poly>[0,0,10,0]</poly>", "<poly>[0,0,10,0,10,10,5]</poly>", "<poly>[5,5,5,5,5,5]</poly>"]
)
def test_a_broken_outline_is_worth_nothing(text: str) -> None:
    """Would catch outlines with too few, odd or coinciding points."""
    assert worth(outlines((0, 0, 10, 10)), text) == 0


GOOD = "<think>glands all over</think><answer>normal</answer>"


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (GOOD, 1.5),
        ("\n<think>\nglands\n</think>\n<answer>\n normal \n</answer>\n", 1.5),
        ("<think>glands</think><answer>tumour</answer>", 0.5),
        ("normal", 0),
        ("<answer>normal</answer>", 0),
        ("<think></think><answer>normal</answer>", 0),
        ("<think>  </think><answer>normal</answer>", 0),
        ("<think>a</think><answer></answer>", 0),
        ("<think>a</think><answer>normal", 0),
        ("well <think>a</think><answer>normal</answer>", 0),
        ("<think>a</think> so <answer>normal</answer>", 0),
        (GOOD + " certainly", 0),
        (GOOD + GOOD, 0),
        ("<think>a</think><answer>tumour</answer><answer>normal</answer>", 0),
        ("<think>a</think><think>b</think><answer>normal</answer>", 0),
        ("<think>a<answer>normal</answer></think><answer>normal</answer>", 0),
        ("<answer>normal</answer><think>a</think>", 0),
        ("<THINK>a</THINK><ANSWER>normal</ANSWER>", 0),
    ],
)
def test_a_whole_output_is_worth_its_answer_and_half_its_form(output: str, value: float) -> None:
    """Would catch form without thought, several answers of which the best counts, and answers outside the
    form."""
    sample = ask("classification", Label("normal"))
    assert reward(TASKS["classification"], output, sample) == value
    assert format_reward(TASKS["classification"], output) == float(value > 0)


def test_the_form_counts_only_with_an_answer_of_the_task() -> None:
    """Would catch half a point for empty tags around anything."""
    output = "<think>a</think><answer>somewhere</answer>"
    assert format_reward(TASKS["vqa"], output) == 1
    assert format_reward(TASKS["detection"], output) == 0
    assert reward(TASKS["detection"], output, boxes()) == 0


def test_prompts() -> None:
    """Would catch a model asked to think in SFT, or asked in other words than the base was taught."""
    sample = ask("classification", Label("normal"))
    assert direct(sample) == "What is it?"
    assert thinking(sample) == f"What is it?\n{THINK_INSTRUCTION}"
    assert THINK_INSTRUCTION == (
        "First output the thinking process in <think> </think> "
        "and then the final answer in <answer> </answer>."
    )
