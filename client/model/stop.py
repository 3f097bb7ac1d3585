"""Where an answer that is being written ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Stop:
    """At the end-of-turn token `end` (negative: at none); and, where there is a `tag`, with the token that completes it.

    A tag is looked for in the text, not among the tokens: one tokenizer writes `</answer>` as one token, another as
    several, a third its `>` together with a line's end. `letters` are the texts of all tokens by id; only a token that
    holds the tag's last letter can complete it, so only then are a row's last tokens read, by `text`.
    """

    def __init__(
        self,
        end: int,
        tag: str = "",
        letters: Sequence[str] = (),
        text: Callable[[list[int]], str] = lambda ids: "",
    ) -> None:
        self.end, self.tag, self._text = end, tag, text
        self._closing = torch.tensor(
            [i for i, token in enumerate(letters) if tag and tag[-1] in token], dtype=torch.long
        )

    def reached(self, tokens: Tensor, tails: Callable[[int, int], list[int]]) -> Tensor:
        """Which rows end with their newest token: bool [N] of `tokens` int64 [N].

        `tails(row, most)` are a row's last tokens, the newest among them.
        """
        ended = tokens == self.end
        if len(self._closing):
            for row in torch.isin(tokens.cpu(), self._closing).nonzero()[:, 0].tolist():
                # a token of the tag holds a letter of it at least
                ended[row] |= self.tag in self._text(tails(row, len(self.tag)))
        return ended
