"""Who is whom: two spellings of one patient must not become two patients, whom privacy would protect one by one."""

from __future__ import annotations

import unicodedata

_UNSEEN = {
    "Cc",
    "Cf",
    "Zs",
    "Zl",
    "Zp",
}  # controls, marks of format (zero-width ones among them), all kinds of space


def identity(patient: str) -> str:
    """What all spellings of a patient's key have in common: letters without case or composition, dashes alike, without
    spaces or what can't be seen. Keys are compared by it; it is no key itself.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", patient).casefold())
    return "".join(
        "-" if unicodedata.category(letter) == "Pd" else letter
        for letter in folded
        if unicodedata.category(letter) not in _UNSEEN
    )
