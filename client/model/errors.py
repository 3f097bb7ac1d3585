"""What can go wrong with the base, its experts or a visual input. Each message says what, where, and what
to do.
"""

from __future__ import annotations

from client.errors import ClientError


class ModelError(ClientError):
    """Root of this package's errors."""


class BaseModelError(ModelError):
    """The base model's folder is missing something or does not hold what it must."""


class ExpertError(ModelError):
    """An expert's name, shape or weights do not fit the base."""


class PromptError(ModelError):
    """A question can't be turned into tokens of this base."""
