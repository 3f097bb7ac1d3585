"""Errors of aggregation.  A message says what, where, and what to do.

StrategyError
├── AggregationError    a release that can't be added: the caller should have refused it before
├── RecipeError         a way to aggregate that contradicts itself
├── DefinitionError     a campaign's definition that decides nothing, or no such round
└── HandedError         a file that the consortium handed over, or should have
"""

from __future__ import annotations


class StrategyError(Exception):
    """Every error that this package raises on purpose."""


class AggregationError(StrategyError, ValueError):
    """A contribution that does not fit the expert it is meant for, or a weight that means nothing."""


class RecipeError(StrategyError, ValueError):
    """A key of a recipe that is unknown, or does not go with another; the message begins with its name."""


class DefinitionError(StrategyError, ValueError):
    """A campaign's definition that was not written as one is, or that has no such round."""


class HandedError(StrategyError):
    """A file that is missing, or is not what it is called; `missing` tells which."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing
