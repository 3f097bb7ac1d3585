"""What the server makes of an aggregate: the change itself, or a step of its own that remembers earlier rounds.

An aggregate is taken as a step against the gradient (Reddi et al., arXiv 2003.00295, algorithm 2; momentum as Hsu et al.,
arXiv 1909.06335). What is remembered are float32 tensors, so that a campaign goes on after a restart with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy import tensors
from privacy.errors import WireError
from strategies.errors import AggregationError, RecipeError
from strategies.gathered import Change, State, Values, Where

NONE, MOMENTUM, ADAM, YOGI = "none", "momentum", "adam", "yogi"
OPTIMISERS = (NONE, MOMENTUM, ADAM, YOGI)
_PARTS: Mapping[str, tuple[str, ...]] = {
    NONE: (),
    MOMENTUM: ("first",),
    ADAM: ("first", "second"),
    YOGI: ("first", "second"),
}
_USES: Mapping[str, tuple[str, ...]] = {
    NONE: (),
    MOMENTUM: ("learning_rate", "beta1"),
    ADAM: ("learning_rate", "beta1", "beta2", "tau"),
    YOGI: ("learning_rate", "beta1", "beta2", "tau"),
}

Memory = Mapping[str, NDArray[np.float32]]  # by part and tensor: "first/a.lora_B"


@dataclass(frozen=True)
class Optimiser:
    """A server optimiser of one expert. Valid by construction: `RecipeError` names the field and the cure.

    `none` adds the change as it is. `momentum` adds `learning_rate * m`, `m = beta1 m + change`. `adam` and `yogi` add
    `learning_rate * m / (sqrt(v) + tau)`, `m = beta1 m + (1 - beta1) change`, v starting at tau^2: with
    `v = beta2 v + (1 - beta2) change^2` in Adam, and in Yogi moved towards change^2 by (1 - beta2) change^2.
    There, every value moves by up to the learning rate in a round, so state one of the size of a round's change, and a tau
    not above it. A value that hospitals leave at rest goes on by its momentum.
    """

    kind: str = NONE
    learning_rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        if self.kind not in OPTIMISERS:
            raise RecipeError(f"kind = {self.kind!r}: use one of {', '.join(OPTIMISERS)}")
        for name, below in (("learning_rate", math.inf), ("beta1", 1.0), ("beta2", 1.0), ("tau", math.inf)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < below:
                raise RecipeError(f"{name} = {value!r}: must be a number above 0 and below {below:g}")
            if name not in _USES[self.kind] and value != type(self).__dataclass_fields__[name].default:
                raise RecipeError(f"{name}: {self.kind} has no use for it; leave it out")
            object.__setattr__(self, name, _float(name, value))

    def to_dict(self) -> dict[str, Any]:
        """What decides its steps, as JSON values."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in _USES[self.kind]}}

    def corrected(self, steps: int) -> Optimiser:
        """The same Adam for its step number `steps`, counted from 1, without its moments' bias towards where they began.

        By Kingma and Ba (arXiv 1412.6980, section 2) it is enough to scale the rate, by sqrt(1 - beta2^steps) /
        (1 - beta1^steps), and tau, by sqrt(1 - beta2^steps). Their moments begin at zero.
        """
        first, second = 1 - self.beta1**steps, math.sqrt(1 - self.beta2**steps)
        return replace(self, learning_rate=self.learning_rate * second / first, tau=self.tau * second)

    def begin(self, start: State) -> Memory:
        """What it remembers before its first step."""
        first = {"first": 0.0, "second": np.float32(self.tau) ** 2}
        return {
            f"{part}/{name}": np.full(value.shape, first[part], np.float32)
            for part in _PARTS[self.kind]
            for name, value in start.items()
        }

    def step(
        self, tensor: str, change: Change | Values, memory: Memory, where: Where = ...
    ) -> tuple[Change | Values, Memory]:
        """What to add to the tensor `where` the change is, and what is remembered of all of it afterwards; inputs are left as
        they are.
        """
        if self.kind == NONE:
            return change, {}
        change, all_first = change.astype(np.float64), memory[f"first/{tensor}"]
        first = all_first[where].astype(np.float64)
        if self.kind == MOMENTUM:
            first = self.beta1 * first + change
            return self.learning_rate * first, {f"first/{tensor}": _with(all_first, where, first)}
        all_second = memory[f"second/{tensor}"]
        second, square = all_second[where].astype(np.float64), np.square(change)
        first = self.beta1 * first + (1 - self.beta1) * change
        towards = square - second if self.kind == ADAM else np.sign(square - second) * square
        second = second + (1 - self.beta2) * towards
        new = {
            f"first/{tensor}": _with(all_first, where, first),
            f"second/{tensor}": _with(all_second, where, second),
        }
        return self.learning_rate * first / (np.sqrt(second) + self.tau), new

    def load(self, data: bytes, start: State, limit: int) -> Memory:
        """What `save` wrote. Raises `AggregationError` where it is not this optimiser's memory of these tensors."""
        return load(data, self.begin(start), limit)


def load(data: bytes, begun: Memory, limit: int) -> Memory:
    """What `save` wrote. Raises `AggregationError` where it holds other tensors than a memory that was just `begun`."""
    try:
        memory = tensors.decode(data, limit)
    except WireError as error:
        raise AggregationError(f"the server optimiser's memory can't be read: {error}") from error
    if {name: value.shape for name, value in memory.items()} != {n: v.shape for n, v in begun.items()}:
        raise AggregationError("the memory is not that of this optimiser over this expert's tensors")
    return memory


def save(memory: Memory) -> bytes:
    """An optimiser's memory as bytes; equal memories give equal bytes."""
    return tensors.encode(memory)


def _float(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        raise RecipeError(f"{name} must be a finite number, not a whole one beyond 1e308") from None


def _with(before: NDArray[np.float32], where: Where, values: Values) -> NDArray[np.float32]:
    if where is ...:
        return values.astype(np.float32)
    new = before.copy()
    new[where] = values
    return new
