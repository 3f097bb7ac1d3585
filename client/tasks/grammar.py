"""How answers are written as text, and read back.

    words       as they are
    boxes       <bbox>[x1,y1,x2,y2]</bbox>, one after the other without separators
    polygons    <poly>[x1,y1,x2,y2,x3,y3,...]</poly>, likewise; a region may also be given by its box
    no object   none
    thinking    <think>...</think><answer>...</answer>; no one writes a model's thoughts for it

Reading is strict, because a reward hangs on it: a model's text either is such an answer from end to end
(spaces at the ends and after commas aside) or it is None. Nothing is searched for inside longer text.
"""

from __future__ import annotations

import re
import unicodedata

from client.errors import AnswerError
from client.tasks.sample import Box, Boxes, Polygon, Polygons
from client.tasks.wording import normalise

NONE = "none"
# Letters and symbols that are drawn as nothing: fillers of Hangul, the braille pattern of no dots, a null notehead, blanks.
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\U00013441\U00013442\U0001d159")
_NUMBER = r"(?:0|[1-9][0-9]{0,3})"
_BOX = re.compile(rf"<(bbox)>\[({_NUMBER}(?:, ?{_NUMBER}){{3}})\]</bbox>")
_REGION = re.compile(rf"{_BOX.pattern}|<(poly)>\[({_NUMBER}(?:, ?{_NUMBER}){{5,}})\]</poly>")
_THINKING = re.compile(r"<think>(.*)</think>\s*<answer>(.*)</answer>", re.DOTALL)
THOUGHT_BEGINS, THOUGHT_ENDS = "<think>", "</think>"
ANSWER_BEGINS, ANSWER_ENDS = "<answer>", "</answer>"
_TAGS = (THOUGHT_BEGINS, THOUGHT_ENDS, ANSWER_BEGINS, ANSWER_ENDS)


def render_boxes(answer: Boxes) -> str:
    """Write boxes; `parse_boxes` reads the same answer back."""
    return "".join(f"<bbox>[{box.x1},{box.y1},{box.x2},{box.y2}]</bbox>" for box in answer.boxes) or NONE


def render_polygons(answer: Polygons) -> str:
    """Write outlined regions; `parse_polygons` reads the same answer back."""
    return "".join(_render_region(region) for region in answer.polygons) or NONE


def parse_words(text: str) -> str | None:
    """The text's words on one line, or None where they say nothing: where no sign is left after normalisation."""
    line = " ".join(text.split())
    return line if _seen(normalise(line)) else None


def parse_boxes(text: str) -> Boxes | None:
    """Read boxes, or None if the text is anything else; one impossible box spoils the answer."""
    rows = _parse_rows(text, _BOX)
    try:
        return None if rows is None else Boxes(tuple(Box(*numbers) for _, numbers in rows))
    except AnswerError:
        return None


def parse_polygons(text: str) -> Polygons | None:
    """Read regions (polygons, boxes or both), or None if the text is anything else; one impossible region
    spoils the answer."""
    rows = _parse_rows(text, _REGION)
    if rows is None or any(len(numbers) % 2 for _, numbers in rows):
        return None
    try:
        return Polygons(tuple(_region(tag, numbers) for tag, numbers in rows))
    except AnswerError:
        return None


def parse_thinking(text: str) -> str | None:
    """The answer's text, or None unless the whole text is one think block, not empty, and one answer
    block."""
    if any(text.count(tag) != 1 for tag in _TAGS):
        return None
    match = _THINKING.fullmatch(text.strip())
    return match[2].strip() if match and _seen(match[1]) else None


def own_thought(said: str) -> str:
    """The thought of a model that was asked to think, as far as it came, without tags; empty where there is none."""
    thought = said.split(THOUGHT_ENDS)[0]
    for tag in _TAGS:
        thought = thought.replace(tag, " ")
    return thought.strip() if _seen(thought) else ""


def _seen(text: str) -> bool:
    """Whether anything of it would be seen: neither zero-width letters nor marks on no letter are a thought."""
    return any(unicodedata.category(letter)[0] in "LNPS" and letter not in BLANK for letter in text)


def _render_region(region: Polygon | Box) -> str:
    if isinstance(region, Box):
        return render_boxes(Boxes((region,)))
    return f"<poly>[{','.join(f'{x},{y}' for x, y in region.points)}]</poly>"


def _region(tag: str, numbers: list[int]) -> Polygon | Box:
    if tag == "bbox":
        return Box(*numbers)
    return Polygon(tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def _parse_rows(text: str, pattern: re.Pattern[str]) -> list[tuple[str, list[int]]] | None:
    """Each bracket's tag and numbers, or None unless brackets (or `none`) are all there is."""
    text = text.strip()
    if text == NONE:
        return []
    rows, end = [], 0
    while end < len(text):
        match = pattern.match(text, end)
        if match is None:
            return None
        tag, numbers = (group for group in match.groups() if group is not None)
        rows.append((tag, [int(number) for number in numbers.split(",")]))
        end = match.end()
    return rows or None
