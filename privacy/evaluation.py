"""What an evaluator is asked: which experts to score, how, on which base."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from privacy import canonical
from privacy.errors import WireError
from privacy.experts import EXPERTS

MAX_BYTES = 64 * 1024
STAGES = ("base", "sft", "grpo")


@dataclass(frozen=True)
class Evaluation:
    """A request to score `experts_hash`'s experts (those it does not name are off) on public data.

    Answers are thinking ones where `stage` is "grpo", else direct. It is not signed: it is answered only
    where the policy declares the data public, and changes nothing there. Raises `WireError` for a field of a
    wrong form.
    """

    stage: str
    base_hash: str
    experts_hash: Mapping[str, str]
    expert_rank: int
    expert_alpha: float
    expert_seed: int

    def __post_init__(self) -> None:
        hashes = self.experts_hash
        well_formed = (
            self.stage in STAGES
            and canonical.is_digest(self.base_hash)
            and isinstance(hashes, Mapping)
            and all(name in EXPERTS and canonical.is_digest(value) for name, value in hashes.items())
            and type(self.expert_rank) is int
            and 1 <= self.expert_rank <= 1024
            and type(self.expert_alpha) is float
            and math.isfinite(self.expert_alpha)
            and self.expert_alpha > 0
            and type(self.expert_seed) is int
            and 0 <= self.expert_seed < 2**63
        )
        if not well_formed:
            raise WireError("not an evaluation: a field is of a wrong form")

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return canonical.encode({**fields, "experts_hash": dict(self.experts_hash)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Evaluation:
        """Read hostile bytes.  Raises `WireError`."""
        values = canonical.decode(data, MAX_BYTES)
        if not isinstance(values, dict) or set(values) != set(cls.__dataclass_fields__):
            raise WireError("not an evaluation: its fields are others")
        return cls(**values)
