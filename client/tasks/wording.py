"""When two answers in words are the same, and how close they are when they are not.

Equality is of the whole normalised answer, never of a part of it: "", "n" and "abnormal" are not "normal".
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SPELLING = {
    "tumor": "tumour",
    "tumors": "tumours",
    "gray": "grey",
    "hemorrhage": "haemorrhage",
    "edema": "oedema",
    "leukocyte": "leucocyte",
    "leukocytes": "leucocytes",
}
_SYNONYMS = {
    "adipose": "fat",
    "adipose tissue": "fat",
    "fat tissue": "fat",
    "fatty tissue": "fat",
    "lymphoid tissue": "lymphoid",
    "lymphocytes": "lymphoid",
    "necrotic": "necrosis",
    "necrotic tissue": "necrosis",
    "stromal tissue": "stroma",
    "tumour tissue": "tumour",
}
_LENGTH_CAP = 2  # words beyond this many times the true answer's count against, never for
_SHORT = 8
_AROUND = ",;:!?\"'"
_BRACKETS = str.maketrans("()[]{}", " " * 6)
_BESIDE_A_LETTER = re.compile(r"(?<=[^\W\d_])[-_/](?=\w)|(?<=\w)[-_/](?=[^\W\d_])")


def normalise(text: str) -> str:
    """Case, spacing, punctuation around words, brackets, hyphens beside letters and known spellings and synonyms made alike.

    Signs that carry meaning stay: "her2+" is not "her2-", ".5" not "5", "10²" not "102", "1/2" and "10-20" are one word.
    May return "", which equals no answer.
    """
    folded = unicodedata.normalize("NFC", text).casefold().translate(_BRACKETS)
    words = (_bare(word) for word in _BESIDE_A_LETTER.sub(" ", folded).split())
    phrase = " ".join(_SPELLING.get(word, word) for word in words if word)
    return _SYNONYMS.get(phrase, phrase)


def _bare(word: str) -> str:
    """Without the punctuation around it; a point before a digit stays."""
    return re.sub(r"^\.+(?![0-9])", "", word.rstrip("." + _AROUND).lstrip(_AROUND)).lstrip(_AROUND)


def same(predicted: str, true: str) -> bool:
    """Whether both are the same answer after normalisation. An answer without any word is no one's equal."""
    return normalise(predicted) == normalise(true) != ""


def token_f1(predicted: str, true: str) -> float:
    """F1 of the two bags of words, in [0, 1].

    Only the first words of `predicted` (twice as many as `true` has, at least eight) can match, yet all of
    them count in the precision: reciting a vocabulary does not pay. To name both of two answers may, where they are one
    word each (2/3, where a guess is right half the time): such questions are closed (`client.tasks.vqa`).
    """
    said, meant = normalise(predicted).split(), normalise(true).split()
    heard = said[: max(_LENGTH_CAP * len(meant), _SHORT)]
    shared = (Counter(heard) & Counter(meant)).total()
    return 2 * shared / (len(said) + len(meant)) if shared else 0.0
