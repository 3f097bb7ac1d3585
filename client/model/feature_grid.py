"""A whole slide as the frozen encoder sees it: one token a tile, each with its place in the slide's grid of tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FeatureGrid:
    """tokens [n, width] of the tiles at cells int64 [n, 2] (row, column), row by row; missing int64 [m, 2]: cells of
    tiles that hold tissue and could not be read."""

    tokens: Tensor
    cells: Tensor
    missing: Tensor

    def pooled(self, most: int) -> Tensor:
        """At most `most` tokens [1..most, width], row by row: means over blocks of k x k cells, the smallest k that
        fits, so that neighbours stay together; how far apart they lie is not kept (docs/adr/0020). Of the tokens' type;
        the means are taken in float64.
        """
        factor = max(1, math.ceil(math.sqrt(len(self.cells) / most)))  # no smaller one can fit
        while True:
            blocks, owner = torch.unique(self.cells // factor, dim=0, return_inverse=True)
            if len(blocks) <= most:
                break
            factor += 1
        if factor == 1:
            return self.tokens
        sums = torch.zeros(len(blocks), self.tokens.shape[1], dtype=torch.float64)
        sums.index_add_(0, owner, self.tokens.double())
        return (sums / torch.bincount(owner)[:, None]).to(self.tokens.dtype)

    def to_tensors(self) -> dict[str, Tensor]:
        """For the cache."""
        return {"tokens": self.tokens, "cells": self.cells, "missing": self.missing}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FeatureGrid:
        """What `to_tensors` gave."""
        return cls(tensors["tokens"], tensors["cells"], tensors["missing"])
