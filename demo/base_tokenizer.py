"""The embedded base's own tokenizer: a small BPE trained on the demo's questions and answers, no hub involved."""

from __future__ import annotations

from itertools import product

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from client.tasks.prompt import THINK_INSTRUCTION
from demo.questions import DIAGNOSES, YES_NO
from demo.tissue import KINDS

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = (
    "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>",
    "<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_end|>",
)  # fmt: skip
# Kept whole because every answer has them; the instruction is one token so that a thinking prompt stays short.
MARKS = (
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<bbox>[",
    "]</bbox>",
    "<poly>[",
    "]</poly>",
    THINK_INSTRUCTION,
)
COORDINATES = tuple(range(0, 1001, 10))


def build(texts: list[str]) -> PreTrainedTokenizerFast:
    """Trains the BPE on `texts` and all coordinates; every coordinate, alone or with its comma, is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d+,?| ?[A-Za-z-]+|\s|[^\sA-Za-z\d]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    words = [a + b for a, b in product(("", " "), (*KINDS, *DIAGNOSES, *YES_NO, "none"))]
    corpus = (
        [f"{n},{end}" for n in COORDINATES for end in ("", " ")]
        + [f"{n} " for n in COORDINATES]
        + words
        + texts
    )
    trainer = trainers.BpeTrainer(
        vocab_size=768, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus * 3, trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    for n in COORDINATES:
        if len(tokenizer.encode(f"{n},").ids) != 1 or len(tokenizer.encode(f"{n}").ids) != 1:
            raise ValueError(f"coordinate {n} is not one token: raise vocab_size in demo/base_tokenizer.py")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",  # noqa: S106
        eos_token="<|end|>",  # noqa: S106
        additional_special_tokens=list(SPECIAL[2:]),
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
