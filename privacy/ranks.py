"""Hospitals of different ranks in one expert: who trains the first columns only (docs/adr/0033).

A LoRA expert adds B A x to a layer, and trains B [out, rank]. A hospital of a lower rank trains the first columns of every
B, and leaves the others as they were sent. What is no B, the slide projector and the router, trains whole.
"""

from __future__ import annotations

from collections.abc import Mapping

Shape = tuple[int, ...]


def is_b(tensor: str) -> bool:
    """Whether a tensor is a layer's B, by its name."""
    return tensor.endswith("lora_B")


def first_columns(shapes: Mapping[str, Shape], most: int | None) -> dict[str, Shape]:
    """The shapes of what trains where at most so many columns of a B do (None: all of them)."""
    return {
        name: shape if most is None or not is_b(name) else (*shape[:-1], min(shape[-1], most))
        for name, shape in shapes.items()
    }


def lower_rank(found: Mapping[str, Shape], whole: Mapping[str, Shape]) -> int | None:
    """The rank of a change whose B's are the first columns of `whole`'s: one number of them for all, and fewer.

    | found                                             | is of            |
    |---------------------------------------------------|------------------|
    | the shapes of `whole`                             | no lower rank    |
    | each B with r columns, 1 <= r, all else whole     | rank r           |
    | B's of 0 columns, or of more than `whole`'s       | no lower rank    |
    | B's that differ, or another tensor cut            | no lower rank    |
    """
    ranks = {shape[-1] for name, shape in found.items() if is_b(name) and shape}
    if len(ranks) != 1 or dict(found) == dict(whole):
        return None
    (rank,) = ranks
    return rank if rank >= 1 and dict(found) == first_columns(whole, rank) else None
