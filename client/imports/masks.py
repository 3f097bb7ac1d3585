"""COCO's run-length masks -> outlines along the edges of their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.imports.shapes import Part, Point, Ring, Shape

_MOST = 1 << 28  # pixels of a mask: more would fill the memory
_ADVICE = "a mask is {'size': [height, width], 'counts': a list of run lengths or COCO's compressed text}"


def decode(rle: object, height: int, width: int) -> NDArray[np.bool_]:
    """The mask [height, width] of a COCO run-length encoding, compressed or not.

    Runs go down the columns and start with background. Raises ValueError where it is no mask of this size.
    """
    if not isinstance(rle, dict) or rle.get("size") != [height, width]:
        raise ValueError(f"it is no mask of {height} rows and {width} columns; {_ADVICE}")
    if height * width > _MOST:
        raise ValueError(f"a mask of {height} x {width} pixels is too large; export polygons")
    counts: Any = rle.get("counts")
    if isinstance(counts, str):
        counts = _decompress(counts)
    whole = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
    if not whole or sum(counts) != height * width:
        raise ValueError(f"its runs do not fill it; {_ADVICE}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _decompress(text: str) -> list[int]:
    """COCO's text: six bits a character from "0" on, the sixth says that more follow; runs from the third
    on are differences to the one before the last."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its text holds {character!r}; {_ADVICE}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def trace(mask: NDArray[np.bool_]) -> Shape:
    """The parts of a mask [H, W], their rings along pixel edges; pixels that touch at a corner alone are
    apart. An empty mask has no part."""
    if not mask.any():
        return ()
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
    cropped = mask[top : bottom + 1, left : right + 1]
    areas, count = ndimage.label(cropped)  # joined along edges, numbered from 1
    outers: list[Ring] = [()] * count
    holes: list[list[Ring]] = [[] for _ in range(count)]
    for ring in _rings(cropped):
        moved = tuple((x + left, y + top) for x, y in ring)
        k = areas[_beside(ring)] - 1
        if _turn(ring) > 0:
            outers[k] = moved
        else:
            holes[k].append(moved)
    return tuple(Part(outer, tuple(inner)) for outer, inner in zip(outers, holes, strict=True))


def _rings(mask: NDArray[np.bool_]) -> list[Ring]:
    """All closed lines along pixel edges, with the mask on their right (y down), corners only."""
    padded = np.pad(mask, 1).astype(np.int8)
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}  # corner -> directions that leave it
    down = padded[1:, 1:-1] - padded[:-1, 1:-1]  # 1: the mask begins below this edge
    for y, x in np.argwhere(down == 1).tolist():
        steps.setdefault((x, y), []).append((1, 0))
    for y, x in np.argwhere(down == -1).tolist():
        steps.setdefault((x + 1, y), []).append((-1, 0))
    right = padded[1:-1, 1:] - padded[1:-1, :-1]  # 1: the mask begins right of this edge
    for y, x in np.argwhere(right == 1).tolist():
        steps.setdefault((x, y + 1), []).append((0, -1))
    for y, x in np.argwhere(right == -1).tolist():
        steps.setdefault((x, y), []).append((0, 1))
    rings = []
    while steps:
        rings.append(_follow(steps, next(iter(steps))))
    return rings


def _follow(steps: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> Ring:
    """Walk one closed line from `start`, taking its steps out; where two lines touch, turn right."""
    corners: list[Point] = []
    here, towards = start, (0, 0)
    while here in steps:
        ways = steps[here]
        right = (-towards[1], towards[0])
        if corners and here == start and right not in ways:
            break
        way = right if right in ways else ways[0]
        ways.remove(way)
        if not ways:
            del steps[here]
        if way != towards:
            corners.append((float(here[0]), float(here[1])))
        here, towards = (here[0] + way[0], here[1] + way[1]), way
    if _straight(corners[-1], corners[0], corners[1]):
        corners.pop(0)
    return tuple(corners)


def _straight(a: Point, b: Point, c: Point) -> bool:
    return a[0] == b[0] == c[0] or a[1] == b[1] == c[1]


def _turn(ring: Ring) -> float:
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, (*ring[1:], ring[0]), strict=True))


def _beside(ring: Ring) -> tuple[int, int]:
    """Row and column of a mask pixel that lies along the ring's first edge."""
    (x1, y1), (x2, y2) = ring[0], ring[1]
    dx, dy = np.sign(x2 - x1), np.sign(y2 - y1)
    return int(y1 + (dy + dx - 1) / 2), int(x1 + (dx - dy - 1) / 2)
