"""Text from another's book, fit for a terminal or a page: nothing in it moves, hides or reorders what stands around it."""

from __future__ import annotations

import unicodedata

_ODD = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, bidi and other formats, no letters, line ends


def printable(text: str) -> str:
    """`text` on one line, with an escape (`\\x1b`, `\\u202e`) for every character that would not show as itself."""
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _ODD else letter
        for letter in text
    )
