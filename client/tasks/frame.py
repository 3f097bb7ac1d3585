"""From level-0 pixels of a slide to the answers' frame (0..1000 of the region's width and of its height),
and on to the grid on which a base writes coordinates.

Objects and points keep the manifest's order: it is the order that the model is taught to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from client.tasks.sample import FRAME, Answer, Box, Boxes, Polygon, Polygons, Region, collinear

_Point = tuple[float, float]


def boxes_to_frame(boxes: Iterable[Sequence[float]], region: Region) -> Boxes:
    """Boxes (x1, y1, x2, y2) in level-0 pixels, clipped to the region. Boxes wholly outside it are left
    out."""
    converted = (_box_to_frame(box, region) for box in boxes)
    return Boxes(tuple(box for box in converted if box))


def polygons_to_frame(polygons: Iterable[Sequence[Sequence[float]]], region: Region) -> Polygons:
    """Outlines in level-0 pixels, clipped to the region. Those without an area inside it are left out;
    one too thin for the frame, all points on one line, becomes a rectangle."""
    converted = (_polygon_to_frame(points, region) for points in polygons)
    return Polygons(tuple(polygon for polygon in converted if polygon))


def on_grid(answer: Answer, step: int) -> Answer:
    """The same answer with its coordinates in multiples of `step` (of the frame's units); words are as they are.

    No object vanishes: a box's side is at least one step long, an outline that would lie on one line becomes a
    rectangle.
    """
    if isinstance(answer, Boxes):
        return Boxes(tuple(_snap_box(box, step) for box in answer.boxes))
    if isinstance(answer, Polygons):
        return Polygons(tuple(_snap_region(region, step) for region in answer.polygons))
    return answer


def clip(points: list[_Point], width: float, height: float) -> list[_Point]:
    """Sutherland-Hodgman: cut an outline by the four sides of (0, 0, width, height) in turn."""
    sides: tuple[tuple[int, Callable[[float], float]], ...] = (
        (0, lambda x: x),
        (0, lambda x: width - x),
        (1, lambda y: y),
        (1, lambda y: height - y),
    )
    for axis, inside in sides:
        kept: list[_Point] = []
        for here, there in zip(points, points[1:] + points[:1], strict=True):
            a, b = inside(here[axis]), inside(there[axis])
            if a >= 0:
                kept.append(here)
            if (a < 0) != (b < 0):
                share = a / (a - b)
                kept.append((here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1])))
        points = kept
    return points


def _box_to_frame(box: Sequence[float], region: Region) -> Box | None:
    x1, x2 = (min(max(x - region.x, 0), region.width) for x in (box[0], box[2]))
    y1, y2 = (min(max(y - region.y, 0), region.height) for y in (box[1], box[3]))
    if x1 >= x2 or y1 >= y2:
        return None
    (left, right), (top, bottom) = _interval(x1, x2, region.width), _interval(y1, y2, region.height)
    return Box(left, top, right, bottom)


def _interval(low: float, high: float, length: int) -> tuple[int, int]:
    """Both ends in the frame, at least one unit apart."""
    first, last = _scale(low, length), _scale(high, length)
    return (first, last) if first < last else (min(first, FRAME - 1), min(first, FRAME - 1) + 1)


def _scale(value: float, length: int) -> int:
    return int(value * FRAME / length + 0.5)


def _polygon_to_frame(points: Sequence[Sequence[float]], region: Region) -> Polygon | None:
    moved = [(float(x) - region.x, float(y) - region.y) for x, y in points]
    clipped = clip(moved, region.width, region.height)
    if not clipped:
        return None
    outline = _outline((_scale(x, region.width), _scale(y, region.height)) for x, y in clipped)
    xs, ys = zip(*clipped, strict=True)
    box = _box_to_frame((min(xs), min(ys), max(xs), max(ys)), Region(0, 0, region.width, region.height))
    return outline or (Polygon(box.points) if box else None)


def _outline(points: Iterable[tuple[int, int]]) -> Polygon | None:
    """A polygon without points that repeat the one before; None where all lie on one line."""
    distinct = [point for point, _ in groupby(points)]
    if len(distinct) > 1 and distinct[0] == distinct[-1]:
        distinct.pop()
    return None if collinear(distinct) else Polygon(tuple(distinct))


def _snap(value: int, step: int) -> int:
    return (value + step // 2) // step * step


def _snap_interval(low: int, high: int, step: int) -> tuple[int, int]:
    first, last = _snap(low, step), _snap(high, step)
    return (first, last) if first < last else (min(first, FRAME - step), min(first, FRAME - step) + step)


def _snap_box(box: Box, step: int) -> Box:
    (x1, x2), (y1, y2) = _snap_interval(box.x1, box.x2, step), _snap_interval(box.y1, box.y2, step)
    return Box(x1, y1, x2, y2)


def _snap_region(region: Polygon | Box, step: int) -> Polygon | Box:
    if isinstance(region, Box):
        return _snap_box(region, step)
    outline = _outline((_snap(x, step), _snap(y, step)) for x, y in region.points)
    return outline or Polygon(_snap_box(region.bounds(), step).points)
