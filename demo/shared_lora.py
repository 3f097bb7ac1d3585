"""The ablation "one shared LoRA": a single LoRA serves every scale and every task, and is trained in both stages.

It has as many trained LoRA parameters as all experts of the recipe have together, to the next whole rank. The slide
projector stays as the base's own: it belongs to no LoRA.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.gates import Gates
from demo.recipe import Recipe
from privacy.experts import SCALE_EXPERTS, same_form

SHARED = SCALE_EXPERTS[0]  # the one name that is attached; whoever asks for any expert is given it


class SharedLora(Experts):
    """Experts of which there is only one, under every name."""

    @classmethod
    def fresh(cls, base: Base, recipe: Recipe) -> SharedLora:
        """A fresh one on the base, of all layers, as large as the recipe's experts together, at their scale alpha / rank."""
        together = _size(attach(base, recipe.forms, recipe.seed))
        one_rank = _size(attach(base, same_form([SHARED], 1, 1.0), recipe.seed))
        rank = round(together / one_rank)
        forms = same_form([SHARED], rank, rank * recipe.alpha / recipe.rank)
        attach(base, forms, recipe.seed)
        shared = cls(base, forms, recipe.seed)
        shared.names = (SHARED,)
        return shared

    def trainable(self, names: Iterable[str], max_rank: int | None = None) -> dict[str, Tensor]:
        """The parameters of the one LoRA, whichever experts are named."""
        return super().trainable([SHARED] if list(names) else [], max_rank)

    @contextmanager
    def gated(self, scale: str | None, gates: Gates) -> Iterator[None]:
        """The one LoRA: all gates of a request that names its task are on the same."""
        with self.only(scale, None):
            yield

    def _attached(self, names: Iterable[str]) -> tuple[str, ...]:
        return (SHARED,) if list(names) else ()


def _size(experts: Experts) -> int:
    """Values of all LoRA experts that train."""
    return sum(p.numel() for key, p in experts.trainable(experts.forms).items() if key.endswith("lora_B"))
