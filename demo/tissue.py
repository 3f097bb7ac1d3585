"""Procedural tissue: public histology with true labels, drawn from a seed.

A *canvas* is a grid of fields, one tissue kind each, drawn as two optical-density maps (haematoxylin, eosin)
and coloured by a stain (Beer-Lambert: RGB = glass * 10^-(h H + e E)).  One pixel is one micrometre.
Everything that a question asks about (kinds, gland boxes, tumour outlines, mitoses) is known because we drew it.
Nothing here resembles a patient; it exists so that the whole of FedPath can run, and learn, on two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

FIELD = 128  # pixels (= micrometres) a side of one field, and of one region of interest
KINDS = ("glandular", "tumour", "stroma", "fat", "lymphoid", "necrosis")
GLASS = len(KINDS)  # value of `Canvas.kinds` where there is no tissue
OUTLINE_POINTS = 8  # vertices of a tumour nest's outline

Map = NDArray[np.float32]
Range = tuple[float, float]


@dataclass(frozen=True)
class Organ:
    """How an organ is built.  Ranges are uniform; lengths in micrometres."""

    name: str
    gland_radius: Range = (12, 21)
    gland_elongation: Range = (1.0, 1.35)
    lumen: Range = (0.40, 0.60)  # lumen radius / gland radius
    lumen_density: float = 0.06  # eosin of the secretion inside the lumen
    nucleus: Range = (2.0, 2.8)
    tumour_nucleus: Range = (2.8, 4.0)
    tumour_matrix: float = 0.35
    fibre_period: float = 9.0
    fibre_contrast: float = 0.16
    stroma_cells: int = 22
    fat_radius: Range = (9, 14)
    lymphocyte: Range = (1.7, 2.2)


@dataclass(frozen=True)
class Stain:
    """Optical density per unit of each dye in R, G, B; overall strengths; colour of the glass (0-255)."""

    name: str
    haematoxylin: tuple[float, float, float] = (0.65, 0.70, 0.29)
    eosin: tuple[float, float, float] = (0.09, 0.85, 0.20)
    strength: tuple[float, float] = (1.0, 1.0)
    glass: tuple[int, int, int] = (243, 243, 243)


@dataclass(frozen=True)
class Gland:
    """An ellipse's bounding box (x1, y1, x2, y2) and centre, in canvas pixels."""

    box: tuple[float, float, float, float]
    centre: tuple[float, float]


@dataclass(frozen=True)
class Nest:
    """A tumour nest: its outline ([8, 2], clockwise from the top) and centre, in canvas pixels."""

    outline: NDArray[np.float32]
    centre: tuple[float, float]


@dataclass(frozen=True)
class Canvas:
    """What was drawn.  `haematoxylin`, `eosin`: [H, W]; `kinds`: [H, W] index into KINDS or GLASS; `cells`: [rows, cols]."""

    haematoxylin: Map
    eosin: Map
    kinds: NDArray[np.uint8]
    objects: NDArray[np.uint8]  # 0 nothing, 1 gland, 2 tumour nest, 3 a gland's centre
    cells: NDArray[np.uint8]
    glands: tuple[Gland, ...] = ()
    nests: tuple[Nest, ...] = ()
    mitoses: tuple[tuple[float, float], ...] = ()


@dataclass
class _Layers:
    """The canvas while it is being drawn: dyes as 8-bit layers (OpenCV draws fastest on these)."""

    nuclei: NDArray[np.uint8]
    body: Map
    kinds: NDArray[np.uint8]
    objects: NDArray[np.uint8]
    glands: list[Gland] = field(default_factory=list)
    nests: list[Nest] = field(default_factory=list)
    mitoses: list[tuple[float, float]] = field(default_factory=list)


@lru_cache(maxsize=8)
def _noise_bank(scale: int) -> Map:
    """A 1024 x 1024 tile of smooth noise, mean 0, deviation 1; `scale` is its correlation length in pixels."""
    rng = np.random.default_rng(scale)
    small = rng.standard_normal((1024 // scale + 2, 1024 // scale + 2)).astype(np.float32)
    tile = cv2.resize(small, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    return np.asarray((tile - tile.mean()) / tile.std(), np.float32)


def _noise(shape: tuple[int, int], scale: int, rng: np.random.Generator) -> Map:
    """A crop [H, W] of the bank at a random place and orientation."""
    bank = _noise_bank(scale)
    y, x = rng.integers(0, 1024 - shape[0]), rng.integers(0, 1024 - shape[1])
    crop = bank[y : y + shape[0], x : x + shape[1]]
    return np.ascontiguousarray(crop[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))])


def _nucleus(
    layer: NDArray[np.uint8], x: float, y: float, radius: float, stretch: float, angle: float, value: int
) -> None:
    """One filled ellipse with sub-pixel placement."""
    cv2.ellipse(
        layer,
        (round(x * 16), round(y * 16)),
        (round(radius * stretch * 16), round(radius * 16)),
        angle,
        0,
        360,
        value,
        -1,
        cv2.LINE_AA,
        4,
    )


def _scatter(rng: np.random.Generator, centre: tuple[float, float], count: int) -> NDArray[np.float64]:
    """`count` points [count, 2] spread evenly over the field around `centre`."""
    return np.asarray(centre) + rng.uniform(-FIELD / 2, FIELD / 2, (count, 2))


def _draw_glands(
    layers: _Layers, centre: tuple[float, float], organ: Organ, rng: np.random.Generator
) -> None:
    placed: list[tuple[float, float, float]] = []
    wanted = int(rng.choice((1, 2, 3, 4), p=(0.25, 0.3, 0.25, 0.2)))
    for _ in range(60):
        if len(placed) == wanted:
            break
        radius = rng.uniform(*organ.gland_radius)
        reach = FIELD / 2 - radius - 8
        x, y = centre[0] + rng.uniform(-reach, reach), centre[1] + rng.uniform(-reach, reach)
        if any(np.hypot(x - u, y - v) < radius * 1.25 + r * 1.25 + 2 for u, v, r in placed):
            continue
        placed.append((x, y, radius))
        stretch, angle = rng.uniform(*organ.gland_elongation), rng.uniform(0, 180)
        a, b = radius * stretch**0.5, radius / stretch**0.5
        spot = (round(x), round(y))
        cv2.ellipse(layers.body, spot, (round(a), round(b)), angle, 0, 360, 0.75, -1, cv2.LINE_AA)
        lumen = rng.uniform(*organ.lumen)
        cv2.ellipse(layers.objects, spot, (round(a), round(b)), angle, 0, 360, 1, -1)
        cv2.circle(layers.objects, spot, 4, 3, -1)
        inner = (round(a * lumen), round(b * lumen))
        cv2.ellipse(layers.body, spot, inner, angle, 0, 360, organ.lumen_density, -1, cv2.LINE_AA)
        cv2.ellipse(layers.nuclei, spot, (round(a), round(b)), angle, 0, 360, 28, -1)
        cv2.ellipse(layers.nuclei, spot, inner, angle, 0, 360, 0, -1)
        turn = np.deg2rad(angle)
        size = rng.uniform(*organ.nucleus)
        for t in np.arange(0, 2 * np.pi, 2.3 * size / radius) + rng.uniform(0, 1):
            u, v = a * 0.85 * np.cos(t), b * 0.85 * np.sin(t)
            px, py = x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)
            _nucleus(layers.nuclei, px, py, size, 1.3, np.rad2deg(t) + angle, int(rng.integers(140, 190)))
        w = float(np.hypot(a * np.cos(turn), b * np.sin(turn)))
        h = float(np.hypot(a * np.sin(turn), b * np.cos(turn)))
        layers.glands.append(Gland((x - w, y - h, x + w, y + h), (x, y)))


def _draw_nest(layers: _Layers, centre: tuple[float, float], organ: Organ, rng: np.random.Generator) -> None:
    x, y = centre[0] + rng.uniform(-8, 8), centre[1] + rng.uniform(-8, 8)
    angles = np.arange(OUTLINE_POINTS) * 2 * np.pi / OUTLINE_POINTS - np.pi / 2
    radii = np.clip(rng.uniform(26, 44) * (1 + 0.22 * rng.standard_normal(OUTLINE_POINTS)), 16, 52)
    outline = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], 1).astype(np.float32)
    mask = np.zeros_like(layers.kinds)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    inside = mask.astype(bool)
    layers.body[inside] = organ.tumour_matrix
    layers.objects[inside] = 2
    layers.nuclei[inside] = 62
    for px, py in rng.uniform(-52, 52, (170, 2)) + np.array((x, y)):
        if 0 <= int(py) < mask.shape[0] and 0 <= int(px) < mask.shape[1] and inside[int(py), int(px)]:
            size = rng.uniform(*organ.tumour_nucleus)
            _nucleus(
                layers.nuclei,
                px,
                py,
                size,
                rng.uniform(1, 1.4),
                rng.uniform(0, 180),
                int(rng.integers(110, 190)),
            )
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(2, 5))):
            t, r = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6) * radii.min()
            px, py, angle = x + r * np.cos(t), y + r * np.sin(t), rng.uniform(0, 180)
            cv2.circle(layers.nuclei, (round(px), round(py)), 6, 20, -1, cv2.LINE_AA)
            _nucleus(layers.nuclei, px, py, 1.7, 3.0, angle, 255)
            layers.mitoses.append((px, py))
    layers.nests.append(Nest(outline, (x, y)))


def _draw_field(
    kind: int, layers: _Layers, centre: tuple[float, float], organ: Organ, rng: np.random.Generator
) -> None:
    """What stands in one field, over the stroma that is everywhere."""
    name = KINDS[kind]
    if name == "glandular":
        _draw_glands(layers, centre, organ, rng)
    elif name == "tumour":
        _draw_nest(layers, centre, organ, rng)
    elif name == "stroma":
        for px, py in _scatter(rng, centre, organ.stroma_cells):
            _nucleus(layers.nuclei, px, py, 1.3, 3.2, rng.normal(30, 25), int(rng.integers(110, 170)))
    elif name == "fat":
        radius = rng.uniform(*organ.fat_radius)
        step = radius * 1.9
        for row, py in enumerate(np.arange(centre[1] - 58, centre[1] + 59, step * 0.87)):
            for px in np.arange(centre[0] - 58 + (row % 2) * step / 2, centre[0] + 59, step):
                u, v = px + rng.normal(0, 1), py + rng.normal(0, 1)
                cv2.circle(layers.body, (round(u), round(v)), round(radius), 0.02, -1, cv2.LINE_AA)
                cv2.circle(layers.nuclei, (round(u), round(v)), round(radius), 0, -1)
    elif name == "lymphoid":
        for px, py in _scatter(rng, centre, 330):
            _nucleus(layers.nuclei, px, py, rng.uniform(*organ.lymphocyte), 1, 0, int(rng.integers(170, 225)))
    else:
        patch = layers.kinds == kind
        layers.body[patch] = 0.85
        layers.nuclei[patch] = 10
        for px, py in _scatter(rng, centre, 70):
            _nucleus(layers.nuclei, px, py, rng.uniform(0.7, 1.4), 1, 0, int(rng.integers(70, 140)))


def draw(cells: NDArray[np.uint8], organ: Organ, rng: np.random.Generator, margin: int = 16) -> Canvas:
    """Draws a canvas of `cells` ([rows, cols], index into KINDS or GLASS), continued for `margin` pixels around.

    Borders between fields are uneven by some micrometres; a tumour nest and every gland stand wholly in their field.
    """
    rows, cols = cells.shape
    shape = (rows * FIELD + 2 * margin, cols * FIELD + 2 * margin)
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    bend = 7.0
    ry = np.clip((yy - margin + bend * _noise(shape, 32, rng)) / FIELD, 0, rows - 1e-3).astype(np.intp)
    rx = np.clip((xx - margin + bend * _noise(shape, 32, rng)) / FIELD, 0, cols - 1e-3).astype(np.intp)
    kinds = cells[ry, rx]
    angle = rng.uniform(0, np.pi)
    phase = (xx * np.cos(angle) + yy * np.sin(angle)) * (2 * np.pi / organ.fibre_period)
    fibres = np.sin(phase + 2.2 * _noise(shape, 16, rng))
    body = np.asarray(0.45 + organ.fibre_contrast * fibres + 0.05 * _noise(shape, 4, rng), np.float32)
    layers = _Layers(np.zeros(shape, np.uint8), body, kinds, np.zeros(shape, np.uint8))
    for px, py in rng.uniform(0, 1, (rows * cols * 7, 2)) * (shape[1], shape[0]):
        _nucleus(layers.nuclei, px, py, 1.2, 2.8, rng.uniform(0, 180), int(rng.integers(100, 160)))
    for row in range(rows):
        for col in range(cols):
            if cells[row, col] != GLASS:
                centre = (margin + (col + 0.5) * FIELD, margin + (row + 0.5) * FIELD)
                _draw_field(int(cells[row, col]), layers, centre, organ, rng)
    nuclei = cv2.GaussianBlur(layers.nuclei, (3, 3), 0.7).astype(np.float32) / 255
    grain = 1 + 0.12 * _noise(shape, 2, rng)
    body = cv2.GaussianBlur(layers.body, (3, 3), 0.7) * grain
    glass = kinds == GLASS
    nuclei[glass] = 0
    body[glass] = 0
    return Canvas(
        np.asarray(nuclei * grain, np.float32),
        np.asarray(np.clip(body * (1 - 0.6 * nuclei), 0, None), np.float32),
        kinds,
        layers.objects,
        cells,
        tuple(layers.glands),
        tuple(layers.nests),
        tuple(layers.mitoses),
    )


def colour(canvas: Canvas, stain: Stain, rng: np.random.Generator) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a canvas under a stain, with a little camera noise."""
    h = (
        canvas.haematoxylin[..., None]
        * np.asarray(stain.haematoxylin, np.float32)
        * (1.15 * stain.strength[0])
    )
    e = canvas.eosin[..., None] * np.asarray(stain.eosin, np.float32) * (0.55 * stain.strength[1])
    rgb = np.asarray(stain.glass, np.float32) * np.exp(-np.float32(np.log(10)) * (h + e))
    rgb += _noise(canvas.kinds.shape, 2, rng)[..., None] * 2.0
    return np.clip(rgb, 0, 255).astype(np.uint8)
