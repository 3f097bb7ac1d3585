"""Which number of a round's vector is which: all tensors of all experts that the plan trains, in order of their names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MechanismError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """`shapes` gives each tensor's shape, by expert and tensor; the vector is sorted by both names, each tensor in C order."""

    shapes: Mapping[str, Mapping[str, Shape]]

    def __post_init__(self) -> None:
        ordered = {
            expert: MappingProxyType(dict(sorted(of.items()))) for expert, of in sorted(self.shapes.items())
        }
        object.__setattr__(self, "shapes", MappingProxyType(ordered))

    @property
    def size(self) -> int:
        """Numbers of the vector."""
        return sum(math.prod(shape) for of in self.shapes.values() for shape in of.values())

    def flat(self, values: Mapping[tuple[str, str], NDArray[np.float64]]) -> NDArray[np.float64]:
        """The vector of these tensors, by expert and tensor; zeros for an expert that is not there.

        Raises `MechanismError` for a tensor that is in no place here, has another shape or is not float64, and for one of
        an expert's tensors without the others.
        """
        out, start, left = np.zeros(self.size), 0, dict(values)
        for expert, of in self.shapes.items():
            trained = any(name == expert for name, _ in values)
            for tensor, shape in of.items():
                stop = start + math.prod(shape)
                if trained:
                    value = left.pop((expert, tensor), None)
                    if value is None or value.shape != shape or value.dtype != np.float64:
                        raise MechanismError(
                            f"{expert}: {tensor} is missing, or not float64 of shape {shape}"
                        )
                    out[start:stop] = value.reshape(-1)
                start = stop
        if left:
            raise MechanismError(f"the round has no place for {', '.join(map(str, left))}")
        return out

    def split(self, vector: NDArray[np.float64]) -> dict[str, dict[str, NDArray[np.float64]]]:
        """The tensors of a vector, by expert and tensor; views of it. Raises `MechanismError` for another size."""
        if vector.shape != (self.size,):
            raise MechanismError(f"a vector of {self.size} numbers is needed, not {vector.shape}")
        found: dict[str, dict[str, NDArray[np.float64]]] = {}
        start = 0
        for expert, of in self.shapes.items():
            found[expert] = {}
            for tensor, shape in of.items():
                stop = start + math.prod(shape)
                found[expert][tensor] = vector[start:stop].reshape(shape)
                start = stop
        return found
