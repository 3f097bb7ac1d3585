"""The ablation "one shared LoRA": a single LoRA serves every scale and every task, and is trained in both stages.

It has as many LoRA parameters as all experts of the recipe have together.  The slide projector stays as the base's own:
it belongs to no LoRA.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from client.model.base import Base
from client.model.experts import Experts, attach
from client.model.gates import Gates
from demo.recipe import Recipe
from privacy.experts import SCALE_EXPERTS, TASK_EXPERTS, same_form

SHARED = SCALE_EXPERTS[0]  # the one name that is attached; whoever asks for any expert is given it


def shared_recipe(recipe: Recipe) -> Recipe:
    """The recipe with one LoRA as large as all of its experts, at the same scale alpha / rank."""
    experts = len(SCALE_EXPERTS) + len(TASK_EXPERTS)
    return replace(recipe, rank=recipe.rank * experts, alpha=recipe.alpha * experts)


class SharedLora(Experts):
    """Experts of which there is only one, under every name."""

    @classmethod
    def fresh(cls, base: Base, recipe: Recipe) -> SharedLora:
        """A fresh one on the base, of a `shared_recipe`'s form."""
        forms = same_form([SHARED], recipe.rank, recipe.alpha)
        attach(base, forms, recipe.seed)
        shared = cls(base, forms, recipe.seed)
        shared.names = (SHARED,)
        return shared

    def trainable(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The parameters of the one LoRA, whichever experts are named."""
        return super().trainable([SHARED] if list(names) else [])

    @contextmanager
    def gated(self, scale: str | None, gates: Gates) -> Iterator[None]:
        """The one LoRA: all gates of a request that names its task are on the same."""
        with self.only(scale, None):
            yield

    def _attached(self, names: Iterable[str]) -> tuple[str, ...]:
        return (SHARED,) if list(names) else ()
