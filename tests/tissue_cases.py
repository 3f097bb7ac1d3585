"""Overview pictures (8 um a pixel) of drawn slides whose tissue is known, each with what misleads a tissue mask.

Stain is drawn as light is absorbed (Beer-Lambert), pens, dirt and scanners' faults as they look on real slides; all
goes through JPEG, as a scanner's pixels do. Where a pen covers tissue nobody can say what is right: `unjudged`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 480, 640  # 3.8 x 5.1 mm
HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.09, 0.85, 0.20)
WARM_EOSIN = (0.05, 0.60, 0.42)
BLUE_HAEMATOXYLIN, DAB = (0.62, 0.60, 0.30), (0.27, 0.57, 0.78)

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Picture:
    """RGB [H, W, 3]; where tissue is; where it can't be said."""

    rgb: NDArray[np.uint8]
    tissue: Mask
    unjudged: Mask


@dataclass(frozen=True)
class Score:
    """Of a mask: the share of the tissue that it has, the share of the rest, and intersection over union; NaN where
    there is no tissue."""

    recall: float
    taken: float
    iou: float


def score(picture: Picture, mask: Callable[[NDArray[np.uint8]], Mask]) -> Score:
    found = mask(picture.rgb)
    tissue, rest = picture.tissue & ~picture.unjudged, ~picture.tissue & ~picture.unjudged
    right, wrong = (found & tissue).sum(), (found & rest).sum()
    if not tissue.any():
        return Score(1.0, float(wrong / rest.sum()), float("nan"))
    return Score(
        float(right / tissue.sum()), float(wrong / max(1, rest.sum())), float(right / (tissue.sum() + wrong))
    )


@dataclass(frozen=True)
class Case:
    """What is drawn; the least share of the tissue that must be found, the most of the rest that may be taken for it."""

    name: str
    draw: Callable[[np.random.Generator], Picture]
    recall: float
    taken: float


def noise(rng: np.random.Generator, scale: float) -> Map:
    """Smooth noise [H, W], mean 0, deviation 1; `scale` is its grain in pixels."""
    small = rng.standard_normal((int(HEIGHT / scale) + 3, int(WIDTH / scale) + 3)).astype(np.float32)
    grown = cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)[:HEIGHT, :WIDTH]
    return np.asarray((grown - grown.mean()) / grown.std(), np.float32)


def blob(rng: np.random.Generator, x: float, y: float, radius: float, ragged: float = 0.25) -> Mask:
    """A piece with a ragged edge around the point (x, y), given in shares of the picture; the radius in pixels."""
    yy, xx = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    away = np.hypot(xx - x * WIDTH, yy - y * HEIGHT)
    edge = 1 + ragged * 0.6 * noise(rng, 60) + ragged * 0.3 * noise(rng, 12)
    return np.asarray(away < radius * np.clip(edge, 0.3, 1.7))


def pieces(rng: np.random.Generator) -> Mask:
    """Two pieces of tissue on a slide."""
    return np.asarray(blob(rng, 0.36, 0.5, 120) | blob(rng, 0.78, 0.62, 60))


def absorbed(amounts: list[tuple[Map, Colour]]) -> Map:
    """Optical density [H, W, 3] of dyes: each so much, of this colour."""
    return np.asarray(sum(amount[..., None] * np.float32(colour) for amount, colour in amounts), np.float32)


def dyes(
    rng: np.random.Generator, tissue: Mask, haematoxylin: Colour = HAEMATOXYLIN, eosin: Colour = EOSIN
) -> Map:
    """Both dyes over tissue: nuclei in clusters, a matrix with fibres and gaps."""
    gaps = np.clip(1.1 + 0.5 * noise(rng, 3), 0.15, 1.2)
    nuclei = np.clip(0.16 + 0.12 * noise(rng, 25) + 0.08 * noise(rng, 2), 0.02, None) * gaps
    matrix = np.clip(0.22 + 0.05 * noise(rng, 18) + 0.05 * noise(rng, 2.5), 0.05, None) * gaps
    inside = tissue.astype(np.float32)
    return absorbed([(nuclei * inside, haematoxylin), (matrix * inside, eosin)])


def fat(rng: np.random.Generator, where: Mask, strength: float = 0.1) -> Map:
    """Membranes of fat cells of 60 to 100 um, hardly stained; the cells themselves are empty."""
    points = rng.uniform(0, 1, (HEIGHT * WIDTH // 90, 2)) * (WIDTH, HEIGHT)
    seeds = np.full((HEIGHT, WIDTH), 255, np.uint8)
    seeds[points[:, 1].astype(int), points[:, 0].astype(int)] = 0
    _, owner = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    wall = (owner != np.roll(owner, 1, 0)) | (owner != np.roll(owner, 1, 1))
    amount = cv2.GaussianBlur(wall.astype(np.float32), (3, 3), 0.6) * np.clip(
        1 + 0.4 * noise(rng, 8), 0.2, None
    )
    return absorbed([(amount * where * np.float32(strength), EOSIN)])


def shown(
    rng: np.random.Generator, density: Map, glass: Colour | Map = (243, 243, 243), quality: int = 80
) -> NDArray[np.uint8]:
    """The light that comes through: RGB, with a camera's noise, after JPEG."""
    light = np.broadcast_to(np.float32(glass), density.shape) * np.exp(-np.float32(np.log(10)) * density)
    light = light + rng.normal(0, 1.2, density.shape).astype(np.float32)
    rgb = np.clip(light + 0.5, 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def stroke(
    rng: np.random.Generator, points: list[tuple[float, float]], width: int, streaks: float = 0.15
) -> Map:
    """How thick a pen's ink lies [H, W], about 1 in the middle: blurred, for it lies on the cover glass."""
    line = np.zeros((HEIGHT, WIDTH), np.float32)
    shifted = np.array([(x * WIDTH, y * HEIGHT) for x, y in points], np.int32)
    cv2.polylines(line, [shifted.reshape(-1, 1, 2)], False, 1.0, width, cv2.LINE_AA)
    ink = cv2.GaussianBlur(line, (0, 0), 3) * np.clip(1 + streaks * noise(rng, 7), 0.05, None)
    return np.asarray(ink, np.float32)


RING = [(0.1, 0.5), (0.14, 0.2), (0.36, 0.08), (0.58, 0.2), (0.6, 0.5), (0.5, 0.75)]


def penned(
    colour: Colour, width: int = 34, streaks: float = 0.15, empty: bool = False
) -> Callable[[np.random.Generator], Picture]:
    """Tissue (or none) with a pen's ring around and partly over it, and a dot. Density of the ink in RGB."""

    def draw(rng: np.random.Generator) -> Picture:
        tissue = pieces(rng) & (not empty)
        ink = np.maximum(
            stroke(rng, RING, width, streaks), stroke(rng, [(0.9, 0.15), (0.92, 0.17)], width, streaks)
        )
        rgb = shown(rng, dyes(rng, tissue) + absorbed([(ink, colour)]))
        return Picture(rgb, tissue & (ink < 0.02), tissue & (ink >= 0.02))

    return draw


def plain(
    haematoxylin: Colour = HAEMATOXYLIN,
    eosin: Colour = EOSIN,
    strength: float = 1.0,
    glass: Colour = (243, 243, 243),
    quality: int = 80,
) -> Callable[[np.random.Generator], Picture]:
    """Tissue on clean glass."""

    def draw(rng: np.random.Generator) -> Picture:
        tissue = pieces(rng)
        density = dyes(rng, tissue, haematoxylin, eosin) * np.float32(strength)
        return Picture(shown(rng, density, glass, quality), tissue, np.zeros_like(tissue))

    return draw


def over(
    density: Callable[[np.random.Generator], Map], glass: Callable[[], Map] | None = None
) -> Callable[[np.random.Generator], Picture]:
    """Tissue with something else in the light's way, on glass that may be uneven."""

    def draw(rng: np.random.Generator) -> Picture:
        tissue = pieces(rng)
        light = np.full((HEIGHT, WIDTH, 3), 243, np.float32) if glass is None else glass()
        return Picture(shown(rng, dyes(rng, tissue) + density(rng), light), tissue, np.zeros_like(tissue))

    return draw


def nothing(rng: np.random.Generator) -> Map:
    return np.zeros((HEIGHT, WIDTH, 3), np.float32)


def dirt(rng: np.random.Generator) -> Map:
    """Dust, hairs, bubbles' rims and smears: all without colour."""
    grey = np.zeros((HEIGHT, WIDTH), np.float32)
    for x, y, r in zip(*rng.uniform(0, 1, (2, 60)), rng.uniform(1, 5, 60), strict=True):
        cv2.circle(
            grey, (int(x * WIDTH), int(y * HEIGHT)), int(r), float(rng.uniform(0.05, 0.6)), -1, cv2.LINE_AA
        )
    for _ in range(6):
        x, y = rng.uniform(0, 1, 2) * (WIDTH, HEIGHT)
        cv2.circle(grey, (int(x), int(y)), int(rng.uniform(12, 40)), 0.25, 2, cv2.LINE_AA)
        cv2.line(
            grey, (int(x), int(y)), (int(x + rng.uniform(-90, 90)), int(y + rng.uniform(-90, 90))), 0.4, 2
        )
    smear = np.clip(0.06 * noise(rng, 40), 0, None) + np.clip(0.04 * noise(rng, 4), 0, None)
    return absorbed([(cv2.GaussianBlur(grey, (0, 0), 0.8) + smear, (1, 1, 0.97))])


def cover_glass(rng: np.random.Generator) -> Map:
    """The cover glass's edge: a dark line, a grey band beyond it, drops along it."""
    edge = np.zeros((HEIGHT, WIDTH), np.float32)
    edge[:46] = 0.1
    edge[44:49] = 0.7
    for x in rng.uniform(0, WIDTH, 30):
        cv2.ellipse(edge, (int(x), int(rng.uniform(30, 44))), (9, 4), 0, 0, 360, 0.35, 1, cv2.LINE_AA)
    return absorbed([(cv2.GaussianBlur(edge, (0, 0), 1), (1, 0.98, 1.03))])


def stripe(rng: np.random.Generator) -> Map:
    """A stripe of tinted light right across, as a dirty line sensor leaves it."""
    band = np.zeros((HEIGHT, WIDTH), np.float32)
    band[300:330] = 1
    return absorbed([(cv2.GaussianBlur(band, (0, 0), 6), (0.008, 0.014, 0.032))])


def shading() -> Map:
    """Light that falls off to the corners by a third."""
    yy, xx = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    away = np.hypot(xx / WIDTH - 0.5, yy / HEIGHT - 0.5) / 0.71
    return np.asarray((243 * (1 - 0.33 * away**2))[..., None] * np.float32((1, 1, 0.99)), np.float32)


def islands(outside: int) -> Callable[[np.random.Generator], Picture]:
    """A scanner that only looked around the tissue: what it left out is filled with one value."""

    def draw(rng: np.random.Generator) -> Picture:
        tissue = pieces(rng)
        rgb = shown(rng, dyes(rng, tissue), (232, 231, 228))
        near = cv2.dilate(tissue.astype(np.uint8), np.ones((41, 41), np.uint8)) == 1
        return Picture(np.where(near[..., None], rgb, np.uint8(outside)), tissue, np.zeros_like(tissue))

    return draw


def stained_brown(rng: np.random.Generator) -> Picture:
    """Immunohistochemistry: a third of the tissue brown, the rest a dull blue; greenish glass."""
    tissue = pieces(rng)
    brown = np.clip(noise(rng, 30) - 0.3, 0, 1) * np.clip(0.5 + 0.3 * noise(rng, 2), 0.1, None) * tissue
    blue = np.clip(0.14 + 0.08 * noise(rng, 2.5), 0.04, None) * tissue
    density = absorbed([(brown.astype(np.float32), DAB), (blue.astype(np.float32), BLUE_HAEMATOXYLIN)])
    return Picture(shown(rng, density, (222, 225, 217)), tissue, np.zeros_like(tissue))


def fatty(rng: np.random.Generator) -> Picture:
    """Much fat, a little stroma in it."""
    whole = blob(rng, 0.5, 0.5, 170)
    stroma = whole & (noise(rng, 40) > 1.0)
    density = dyes(rng, stroma) + fat(rng, whole & ~stroma)
    return Picture(shown(rng, density), whole, np.zeros_like(whole))


def full(rng: np.random.Generator) -> Picture:
    """A field cut out of tissue: no glass anywhere."""
    tissue = np.ones((HEIGHT, WIDTH), bool)
    return Picture(shown(rng, dyes(rng, tissue)), tissue, ~tissue)


def full_and_pale(rng: np.random.Generator) -> Picture:
    """The same, hardly stained."""
    tissue = np.ones((HEIGHT, WIDTH), bool)
    return Picture(shown(rng, dyes(rng, tissue) * np.float32(0.25)), tissue, ~tissue)


def cores(rng: np.random.Generator) -> Picture:
    """Needle biopsies: threads of a tenth of a millimetre."""
    line = np.zeros((HEIGHT, WIDTH), np.uint8)
    for row in (100, 230, 360):
        points = [(60 + 40 * k, row + int(14 * np.sin(k + row))) for k in range(14)]
        cv2.polylines(line, [np.array(points, np.int32).reshape(-1, 1, 2)], False, 1, 13)
    tissue = (line == 1) & (noise(rng, 10) > -1.2)
    return Picture(shown(rng, dyes(rng, tissue)), tissue, np.zeros_like(tissue))


def blank(density: Callable[[np.random.Generator], Map]) -> Callable[[np.random.Generator], Picture]:
    """A slide without tissue."""

    def draw(rng: np.random.Generator) -> Picture:
        none = np.zeros((HEIGHT, WIDTH), bool)
        return Picture(shown(rng, density(rng)), none, none)

    return draw


BLUE, GREEN, RED, BLACK = (1.0, 0.66, 0.16), (1.1, 0.32, 0.52), (0.07, 1.0, 0.72), (1.1, 1.12, 1.2)

CASES = (
    Case("H&E on clean glass", plain(), 0.97, 0.02),
    Case("strong stain", plain(strength=2.5), 0.97, 0.02),
    Case("pale stain", plain(strength=0.25), 0.95, 0.02),
    Case("very pale stain", plain(strength=0.15), 0.9, 0.02),
    Case("eosin of a warm tone", plain(eosin=WARM_EOSIN, strength=1.5), 0.97, 0.02),
    Case("immunohistochemistry", stained_brown, 0.95, 0.02),
    Case("heavy compression", plain(quality=30), 0.95, 0.03),
    Case("fat", fatty, 0.8, 0.03),
    Case("needle biopsies", cores, 0.93, 0.03),
    Case("blue pen", penned(BLUE), 0.95, 0.02),
    Case("thin blue pen", penned((0.35, 0.2, 0.1)), 0.95, 0.02),
    Case("green pen", penned(GREEN), 0.95, 0.02),
    Case("red pen", penned(RED), 0.95, 0.03),
    Case("dry red pen", penned((0.05, 0.6, 0.44), streaks=0.6), 0.95, 0.06),
    Case("black pen", penned(BLACK), 0.95, 0.02),
    Case("worn black pen", penned((0.5, 0.53, 0.6), streaks=0.4), 0.95, 0.03),
    Case("orange pen", penned((0.02, 0.3, 0.9)), 0.95, 0.02),
    Case("grey glass", plain(glass=(188, 189, 187)), 0.97, 0.02),
    Case("yellowish glass", plain(glass=(242, 238, 220)), 0.97, 0.02),
    Case("scanner's shading", over(nothing, shading), 0.97, 0.02),
    Case("tinted stripe", over(stripe), 0.97, 0.02),
    Case("dirty glass", over(dirt), 0.95, 0.03),
    Case("cover glass's edge", over(cover_glass), 0.97, 0.02),
    Case("islands on white", islands(255), 0.97, 0.02),
    Case("islands on black", islands(0), 0.97, 0.02),
    Case("no glass", full, 0.97, 1.0),
    Case("no glass, pale", full_and_pale, 0.9, 1.0),
    Case("blank", blank(nothing), 1.0, 0.001),
    Case("blank and dirty", blank(dirt), 1.0, 0.01),
    Case("blank with a blue ring", penned(BLUE, empty=True), 1.0, 0.005),
    Case("blank with a red ring", penned(RED, empty=True), 1.0, 0.02),
    Case("blank with a black ring", penned(BLACK, empty=True), 1.0, 0.005),
)
