"""The model card: what it must say, that figures are the ones it was given, and that nothing in it acts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from privacy.accounting import epsilon
from privacy.evaluation import Evaluation
from privacy.experts import EXPERTS, same_form
from privacy.mechanism import SHARED, Event
from privacy.policy import is_public_name
from server.lineage import Version
from server.model_card import DELTA, Released, card
from server.points import Point
from server.records import Row

STATES = {name: f"{number:02x}" * 32 for number, name in enumerate(EXPERTS, 10)}
EVENT = Event(1.0, 0.1, 20)
VERSIONS = [
    Version("scale/roi", 0, "base", "0a" * 32, None, {}),
    Version("scale/roi", 1, "sft", STATES["scale/roi"], "0a" * 32, {}),
    Version("task/vqa", 2, "grpo", STATES["task/vqa"], "0b" * 32, {"scale/roi": STATES["scale/roi"]}),
]
RELEASED = Released(
    consortium="spring consortium",
    campaign="spring",
    point=Point("grpo", 2, "grpo"),
    experts=Evaluation("grpo", "ba" * 32, STATES, same_form(EXPERTS, 4, 8.0), 7),
    versions=VERSIONS,
    events=[EVENT, EVENT],
    scores=[Row("roi", "classification", "accuracy", 0.8125, 0.75, 0.875, 400, further=False)],
    hospitals=3,
    named=["St Elsewhere"],
    license="apache-2.0",
)


def test_a_card_says_what_a_reader_must_know() -> None:
    """Catches a card that leaves out a score with its interval, a price, a hash, who trained, or that it is no device."""
    text = card(RELEASED)
    for told in (
        "**Not for clinical use.**",
        "0.812 | 0.750 to 0.875 | 400",
        f"epsilon {epsilon([EVENT, EVENT], DELTA):.3g} at delta 1e-05",
        "3 hospitals",
        "- St Elsewhere",
        "and 2 more",
        "| 2 | 40 | 1 | 0.1 |",
        *STATES.values(),
        "ba" * 32,
        "`task/vqa` was trained on `scale/roi",
        "## Limits",
        "spring consortium",
    ):
        assert told in text, told


def test_hugging_face_reads_it() -> None:
    """Catches front matter that the Hub would refuse or misread."""
    read = ModelCard(card(RELEASED))
    assert read.data.license == "apache-2.0"
    assert "differential-privacy" in read.data.tags
    (result,) = read.data.eval_results
    assert (result.metric_type, result.metric_value, result.task_name) == (
        "accuracy",
        0.8125,
        "roi classification",
    )


@pytest.mark.parametrize(
    ("changed", "told", "untold"),
    [
        ({"scores": []}, "**Not evaluated**", "model-index"),
        ({"events": []}, "Nothing was trained on anybody's data", "epsilon "),
        ({"named": []}, "3 hospitals, none of which asked to be named.", "Elsewhere"),
        ({"named": ["A", "B", "C"]}, "- C", "more."),
        ({"license": "other"}, "Not stated: ask the consortium", "apache"),
        (
            {"events": [Event(1.0, 0.1, 20, SHARED)]},
            "no one hospital's part can be opened",
            "clipped and noised",
        ),
        ({"only": "scale/roi"}, "Expert scale\\/roi", STATES["task/vqa"]),
        ({"only": "scale/wsi", "left_out": ["projector.out.weight"]}, "**Not in this folder**", "task/vqa"),
    ],
    ids=[
        "no scores",
        "nothing trained",
        "nobody named",
        "all named",
        "no licence",
        "sums",
        "one",
        "left out",
    ],
)
def test_what_is_not_so_is_not_said(changed: dict[str, object], told: str, untold: str) -> None:
    """Catches a card that claims scores, privacy, names or a licence that there are not."""
    text = card(replace(RELEASED, **changed))  # type: ignore[arg-type]
    assert told in text
    assert untold not in text


@given(name=st.text(min_size=1, max_size=80).filter(is_public_name), metric=st.text(max_size=30))
def test_text_of_whoever_stays_text(name: str, metric: str) -> None:
    """Catches a hospital's name, or an evaluator's metric, that becomes a link, a picture, markup or YAML."""
    row = replace(RELEASED.scores[0], metric=metric)
    text = card(replace(RELEASED, named=[name], scores=[row]))
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    values = yaml.safe_load(front)
    assert values["model-index"][0]["results"][0]["metrics"][0]["type"] == metric
    assert values.keys() == yaml.safe_load(card(RELEASED).split("\n---\n")[0].removeprefix("---\n")).keys()
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    plain = MarkdownIt("commonmark").enable("table").parse(card(RELEASED).split("\n---\n", 1)[1])
    assert [token.type for token in tokens] == [token.type for token in plain]
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert not kinds & {"link_open", "image", "html_inline"}
