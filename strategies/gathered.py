"""A round's releases of one expert, read block by block: memory is bounded by a budget, however many there are.

Releases are always taken in the order of their hospitals' names, whoever answered first, so that what comes of them
is the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import EllipsisType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.ranks import is_b, lower_rank
from strategies.errors import AggregationError

State = Mapping[str, NDArray[np.float32]]
Rows = Sequence[
    NDArray[np.float32]
]  # one hospital's values of a block each; read-only, as they may be its own
Change = NDArray[np.float32]  # what comes of them
Values = NDArray[np.float64]
Where = EllipsisType | tuple[EllipsisType, slice]  # an index into a tensor: all of it, or columns

STACK_BYTES = 4 << 20  # of one block of all hospitals; a rule needs some such blocks at once, but no more
_CACHED = 1 << 15  # values of a block at most: those of eight hospitals, 1 MiB, stay in the processor's cache


class Contribution(Protocol):
    """One hospital's checked change of one expert, wherever it lies (`privacy.release_file.ReleaseFile`)."""

    @property
    def hospital(self) -> str:
        """Who released it."""
        ...

    @property
    def expert(self) -> str:
        """Which expert's change it is."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of its tensors; of a lower rank, where each B has fewer columns than the expert's (`privacy.ranks`)."""
        ...

    @property
    def noise_variance(self) -> float:
        """Of the noise in each coordinate of one step's mean gradient, as the release states it."""
        ...

    def rows(self, tensor: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows of a tensor's change, flat; a scalar is one row."""
        ...


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of a tensor: so many values, from `first` on in the flat tensor."""

    tensor: str
    start: int
    stop: int
    first: int
    size: int


@dataclass(frozen=True)
class Columns:
    """Columns of a tensor that the same hospitals train: `places` of theirs among the releases. `where` they lie in the
    tensor: anywhere in it (`...`) where all train all of it.
    """

    places: tuple[int, ...]
    where: Where
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Values."""
        return math.prod(self.shape)

    @property
    def across(self) -> int:
        """Values of a row."""
        return math.prod(self.shape[1:])

    def of(self, rows: Rows, block: Block) -> Rows:
        """What the hospitals that train these columns change there, of what all of them change in the block."""
        if self.where is ...:
            return rows
        count = block.stop - block.start
        return [rows[place].reshape(count, -1)[self.where].reshape(-1) for place in self.places]


@dataclass(frozen=True)
class Gathered:
    """Checked releases of one expert, one a hospital, in the order of the hospitals' names. Made by `gather`.

    `ranks` are of those hospitals that train the first columns of each B only.
    """

    expert: str
    start: State
    releases: tuple[Contribution, ...]
    ranks: Mapping[str, int]

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Whose releases they are."""
        return tuple(release.hospital for release in self.releases)

    @property
    def sizes(self) -> list[int]:
        """Values of each release; the fewest are those that all have."""
        return [sum(map(math.prod, release.shapes.values())) for release in self.releases]

    def columns(self, tensor: str) -> tuple[Columns, ...]:
        """The tensor's columns by who trains them: first those that all do; columns that nobody does are left out."""
        shape = self.start[tensor].shape
        places = range(len(self.releases))
        if not self.ranks or not is_b(tensor):
            return (Columns(tuple(places), ..., shape),)
        held = [min(shape[-1], self.ranks.get(hospital, shape[-1])) for hospital in self.hospitals]
        return tuple(
            Columns(
                tuple(place for place in places if held[place] >= last),
                (..., slice(first, last)),
                (*shape[:-1], last - first),
            )
            for first, last in pairwise((0, *sorted(set(held))))
        )

    def blocks(self, tensor: str) -> Iterator[Block]:
        """The tensor in blocks of whole rows: as many as the budget and the processor's cache hold, one at least."""
        shape = self.start[tensor].shape or (1,)
        across = math.prod(shape[1:])
        if across == 0:
            return
        most = min(_CACHED, STACK_BYTES // (4 * max(len(self.releases), 1)))
        step = max(1, most // across)
        for begin in range(0, shape[0], step):
            end = min(begin + step, shape[0])
            yield Block(tensor, begin, end, begin * across, (end - begin) * across)

    def read(self, block: Block) -> Rows:
        """What each hospital changes there."""
        return [release.rows(block.tensor, block.start, block.stop) for release in self.releases]

    def all(self) -> Iterator[Rows]:
        """All blocks of all tensors: one pass over the releases; nothing where there are none."""
        for tensor in self.start if self.releases else ():
            for block in self.blocks(tensor):
                yield self.read(block)

    def shared(self) -> Iterator[Rows]:
        """As `all`, of the columns that all releases have."""
        for tensor in self.start if self.releases else ():
            columns = self.columns(tensor)[0]
            for block in self.blocks(tensor):
                yield columns.of(self.read(block), block)


def gather(expert: str, start: State, releases: Iterable[Contribution]) -> Gathered:
    """Put releases in order.

    Raises `AggregationError` where one is another expert's, has other tensors or shapes (but for B's of a lower rank), or
    is a hospital's second: such a release must be refused, by name, before it comes here.
    """
    found = tuple(sorted(releases, key=lambda release: release.hospital))
    wanted = {name: value.shape for name, value in start.items()}
    ranks: dict[str, int] = {}
    for before, release in zip((None, *found), found, strict=False):
        if release.expert != expert:
            raise AggregationError(f"a release of {release.expert} was added to {expert}")
        if before is not None and before.hospital == release.hospital:
            raise AggregationError(f"{release.hospital} released {expert} twice")
        if dict(release.shapes) == wanted:
            continue
        if (rank := lower_rank(release.shapes, wanted)) is None:
            raise AggregationError(
                f"{release.hospital}'s {expert} has other tensors or shapes: check it first"
            )
        ranks[release.hospital] = rank
    return Gathered(expert, start, found, ranks)


def squared_norms(gathered: Gathered) -> Values:
    """Of each hospital's change, in float64 (one pass)."""
    total = np.zeros(len(gathered.releases))
    for rows in gathered.all():
        total += [float(np.square(row, dtype=np.float64).sum()) for row in rows]
    return total
