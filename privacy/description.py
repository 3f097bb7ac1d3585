"""What a hospital says of itself when asked: its name, its policy's experts, its code's hash, how cards may name it."""

from __future__ import annotations

from dataclasses import dataclass

from privacy import canonical
from privacy.errors import WireError
from privacy.experts import EXPERTS
from privacy.policy import Policy, is_public_name

MAX_BYTES = 4096


@dataclass(frozen=True)
class Description:
    """Public facts, from the policy and the installation alone; none depends on a patient."""

    hospital: str
    experts: tuple[str, ...]
    code_hash: str
    public_data: bool
    named_as: str | None = None

    @classmethod
    def of(cls, policy: Policy, code_hash: str) -> Description:
        """The description of a hospital under `policy`."""
        return cls(policy.hospital, policy.experts, code_hash, policy.public_data, policy.named_as)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return canonical.encode({**fields, "experts": list(self.experts)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Description:
        """Read hostile bytes.  Raises `WireError`."""
        values = canonical.decode(data, MAX_BYTES)
        if isinstance(values, dict):
            values.setdefault("named_as", None)  # what hospitals said before there was such a key
        if not isinstance(values, dict) or set(values) != set(cls.__dataclass_fields__):
            raise WireError("not a description: its fields are others")
        experts = values["experts"]
        well_formed = (
            isinstance(values["hospital"], str)
            and isinstance(experts, list)
            and all(isinstance(name, str) and name in EXPERTS for name in experts)
            and canonical.is_digest(values["code_hash"])
            and isinstance(values["public_data"], bool)
            and (values["named_as"] is None or is_public_name(values["named_as"]))
        )
        if not well_formed:
            raise WireError("not a description: a field is of a wrong form")
        return cls(**{**values, "experts": tuple(experts)})
