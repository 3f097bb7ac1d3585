"""Where on a slide tissue lies, told from glass, dirt and pens by colour. docs/tissue.md has the why and the figures.

A colour is taken apart as light is absorbed: how much (optical density against the slide's own glass) and, apart from
that, of which hue and how pure (the HSD model: van der Laak et al., Cytometry 39, 2000). A dye keeps its hue and purity
however thick it lies: haematoxylin and eosin from violet to pink, DAB in brown. Pens lie elsewhere, or are purer or
denser than stain gets; shadows, dust and edges have no hue at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MASK_MPP = 8.0  # the scale at which tissue is looked for: lengths and areas below are in pixels of it

Mask = NDArray[np.bool_]

_BLOCK = 256  # rows told apart at once: they stay in the processor's cache
_SAMPLE = 1 << 20  # pixels that tell the colour of glass
_STROKE = 5  # a pen's stroke is wider
_EDGE = 25  # around it, half as far, its thin edge is looked for
_CELL = 15  # a fat cell is smaller: what stained walls enclose within that is tissue
_THREAD = 5  # tissue is wider
_SPECK = 100  # pieces of a smaller area are dirt
_HOLE = 400  # and smaller holes are lumens, vessels, tears


@dataclass(frozen=True)
class Overview:
    """What an overview picture shows, [H, W] each: `tissue`, and `ink`: pens and other black."""

    tissue: Mask
    ink: Mask


@dataclass(frozen=True)
class _Colours:
    """A range of colours in HSD.

    hue: degrees, from the first up to the second, over 360 where the first is larger; red light absorbed is 0, green
    120, blue 240. purity: HSD's saturation, from the first up to the second. density: the least, mean over channels.
    chroma: the least product of density and purity, which is how far from grey the light is. dark: the least density
    of every channel.
    """

    hue: tuple[float, float] = (0, 361)
    purity: tuple[float, float] = (0, np.inf)
    density: float = 0.0
    chroma: float = 0.0
    dark: float = 0.0


@dataclass(frozen=True)
class _Ink:
    """A kind of ink where it lies thick, and its thin edge: ink only near such a place."""

    core: tuple[_Colours, ...]
    edge: _Colours


# The fainter, the nearer to pink: faint blue and faint brown are also tints of glass, of lamps and of shadows.
_STAINS = (
    _Colours(hue=(45, 90), purity=(0.1, np.inf), density=0.012, chroma=0.018),
    _Colours(hue=(90, 190), purity=(0.1, np.inf), density=0.012, chroma=0.010),
    _Colours(hue=(190, 230), purity=(0.3, np.inf), density=0.012, chroma=0.030),
)
_INKS = (
    _Ink(  # blue and green absorb red light most, which no stain here does
        core=(_Colours(hue=(230, 45), purity=(0.3, np.inf), density=0.08),),
        edge=_Colours(hue=(190, 60), purity=(0.15, np.inf), density=0.02),
    ),
    _Ink(  # orange and yellow are purer than DAB
        core=(_Colours(hue=(190, 230), purity=(1.0, np.inf), density=0.08),),
        edge=_Colours(hue=(185, 240), purity=(0.3, np.inf), density=0.02),
    ),
    _Ink(  # red is as eosin of a warm tone, which is not as dense while it is as pure
        core=(_Colours(hue=(157, 190), purity=(0.6, np.inf), density=0.2),),
        edge=_Colours(hue=(147, 195), purity=(0.45, np.inf), density=0.03),
    ),
    _Ink(  # black; shadows of edges; a scanner's black for what it did not look at
        core=(_Colours(purity=(0, 0.22), density=0.5), _Colours(dark=0.8)),
        edge=_Colours(purity=(0, 0.35), density=0.03),
    ),
)
_KINDS = (_STAINS, *(ranges for ink in _INKS for ranges in (ink.core, (ink.edge,))))


def tissue_mask(thumbnail: NDArray[np.uint8]) -> Mask:
    """The tissue of `overview`."""
    return overview(thumbnail).tissue


def overview(thumbnail: NDArray[np.uint8]) -> Overview:
    """Tissue and ink in `thumbnail`, RGB [H, W, 3] at about MASK_MPP. The same picture gives the same masks.

    Tissue is what H&E or DAB stains, thick or thin, with the fat cells between stained walls and with small holes. It
    is not: glass of whatever brightness, even or not; dust, edges, shadows; pens in blue, green, red, orange or black;
    pieces below 0.006 mm2. Told wrongly: violet pens have haematoxylin's hue and are taken; pools of blood, and dyes
    of a pure blue or green, have a pen's and are not, where they are thick over 40 um.
    """
    kinds = _told_apart(thumbnail)
    ink = np.zeros(kinds.shape, dtype=np.bool_)
    for number in range(1, len(_KINDS), 2):
        ink |= _ink(core=_of(kinds, number), edge=_of(kinds, number + 1))
    stained = _pieces(_of(kinds, 0) & ~ink, 4)
    closed = _morphed(stained, cv2.MORPH_CLOSE, _CELL)
    pieces = _pieces(_morphed(closed, cv2.MORPH_OPEN, _THREAD) & ~ink, _SPECK)
    return Overview(tissue=pieces | (_holes(pieces, _HOLE) & ~ink), ink=ink)


def glass_colour(thumbnail: NDArray[np.uint8]) -> NDArray[np.float64]:
    """RGB [3] of empty glass: the brightest of the frequent colours that glass may have.

    It may be grey, yellowish or greenish, but neither pink nor violet, and pure white is where a scanner did not look.
    A usual one where there is no glass.
    """
    stride = max(1, math.isqrt(thumbnail[..., 0].size // _SAMPLE))
    sample = thumbnail[::stride, ::stride].reshape(-1, 3)
    least, most, green = sample.min(axis=1), sample.max(axis=1), sample[:, 1]
    pink = green < np.minimum(sample[:, 0], sample[:, 2]).astype(np.int16) - 6
    glass = sample[(most - least <= 28) & (least >= 140) & (least < 255) & ~pink]
    if len(glass) < 0.002 * len(sample):
        return np.full(3, 245.0)
    around = np.convolve(np.bincount(glass[:, 1], minlength=256), np.ones(9), "same")
    brightest = int(np.flatnonzero(around >= 0.2 * around.max())[-1])
    first = max(0, brightest - 8)
    level = first + int(around[first : brightest + 1].argmax())
    near = glass[np.abs(glass[:, 1].astype(np.int16) - level) <= 4]  # as `around` counts: some are there
    return np.asarray(np.median(near, axis=0), dtype=np.float64)


def _told_apart(thumbnail: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """[H, W]: bit i is set where a colour is of the i-th of `_KINDS`."""
    levels = np.maximum(np.arange(256), 1)[:, None] / glass_colour(thumbnail)
    densities = np.maximum(-np.log10(levels), 0).astype(np.float32)  # [256, 3]
    kinds = np.zeros(thumbnail.shape[:2], dtype=np.uint16)
    for top in range(0, len(thumbnail), _BLOCK):
        block = thumbnail[top : top + _BLOCK]
        red, green, blue = (densities[block[..., c], c] for c in range(3))
        density = (red + green + blue) / np.float32(3)
        dark = np.minimum(np.minimum(red, green), blue)
        x, y = red - density, (green - blue) / np.float32(3**0.5)  # HSD's plane, times density
        chroma, hue = cv2.cartToPolar(x, y, angleInDegrees=True)
        purity = chroma / np.maximum(density, np.float32(1e-3))
        for number, ranges in enumerate(_KINDS):
            for wanted in ranges:
                low, high = wanted.hue
                within = (hue >= low) & (hue < high) if low < high else (hue >= low) | (hue < high)
                within &= (purity >= wanted.purity[0]) & (purity < wanted.purity[1]) & (dark >= wanted.dark)
                within &= (density >= wanted.density) & (chroma >= wanted.chroma)
                kinds[top : top + _BLOCK] |= within.astype(np.uint16) << number
    return kinds


def _of(kinds: NDArray[np.uint16], number: int) -> Mask:
    return (kinds >> number & 1).astype(np.bool_)


def _ink(core: Mask, edge: Mask) -> Mask:
    """Strokes of one ink: its core where it is wide, gaps of dry strokes closed, and its edge near that."""
    if not core.any():
        return core
    strokes = _pieces(_morphed(_morphed(core, cv2.MORPH_CLOSE, _STROKE), cv2.MORPH_OPEN, _STROKE), _SPECK)
    around = _morphed(strokes, cv2.MORPH_DILATE, _EDGE)
    return _morphed(strokes | (around & edge), cv2.MORPH_CLOSE, _STROKE)


def _morphed(mask: Mask, operation: int, diameter: int) -> Mask:
    """`operation` with a disc. Tissue may go on beyond the picture's edge; what is closed there is only the mask's."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    margin = diameter if operation == cv2.MORPH_CLOSE else 0
    morphed = cv2.morphologyEx(np.pad(mask, margin).view(np.uint8), operation, disc)
    return np.asarray(
        morphed[margin : margin + mask.shape[0], margin : margin + mask.shape[1]], dtype=np.bool_
    )


def _pieces(mask: Mask, least: int) -> Mask:
    """The mask without its connected pieces of fewer pixels than `least`."""
    _, owner, figures, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    kept = figures[:, cv2.CC_STAT_AREA] >= least
    kept[0] = False
    return np.asarray(kept[owner], dtype=np.bool_)


def _holes(mask: Mask, most: int) -> Mask:
    """Where the mask has holes of at most so many pixels; what touches the picture's edge is none."""
    _, owner, figures, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    small = figures[:, cv2.CC_STAT_AREA] <= most
    small[0] = False
    small[np.concatenate([owner[0], owner[-1], owner[:, 0], owner[:, -1]])] = False
    return np.asarray(small[owner], dtype=np.bool_)
