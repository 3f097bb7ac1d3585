"""Area averaging against its definition, in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from client.slides.area import area_average

SEEDS = st.integers(0, 2**32 - 1)
# Steps and origins of any fineness that a slide's scales give; the fraction is exact in floating point.
STEPS = st.integers(1, 64 * 5).map(lambda n: n / 64)
ORIGINS = st.integers(0, 64 * 3).map(lambda n: n / 64)


def exact(image: np.ndarray, origin: tuple[float, float], step: tuple[float, float], i: int, j: int) -> list:
    """The mean over the area of output pixel (i, j), a fraction a channel."""

    def shares(start: Fraction, size: Fraction, length: int) -> list[Fraction]:
        return [
            max(Fraction(0), min(start + size, k + 1) - max(start, k)) / size
            for k in map(Fraction, range(length))
        ]

    rows = shares(Fraction(origin[0]) + i * Fraction(step[0]), Fraction(step[0]), image.shape[0])
    columns = shares(Fraction(origin[1]) + j * Fraction(step[1]), Fraction(step[1]), image.shape[1])
    return [
        sum(
            row * column * int(image[y, x, channel])
            for y, row in enumerate(rows)
            if row
            for x, column in enumerate(columns)
            if column
        )
        for channel in range(3)
    ]


def drawn(seed: int, height: int, width: int) -> np.ndarray:
    """Mostly few levels, so that means fall on ties between two."""
    source = np.random.default_rng(seed)
    return source.integers(0, 256, (height, width, 3), dtype=np.uint8) & np.uint8(
        source.choice([255, 192, 252])
    )


@given(SEEDS, ORIGINS, ORIGINS, STEPS, STEPS, st.integers(1, 4), st.integers(1, 4))
def test_each_pixel_is_the_level_nearest_the_mean_over_its_area(
    seed: int, top: float, left: float, step_y: float, step_x: float, rows: int, columns: int
) -> None:
    """Would catch any other sampling, a half-pixel shift, weights that do not sum to one, wrong rounding."""
    image = drawn(seed, int(np.ceil(top + rows * step_y)), int(np.ceil(left + columns * step_x)))
    averaged = area_average(image, (top, left), (step_y, step_x), (rows, columns))
    assert averaged.shape == (rows, columns, 3)
    for i in range(rows):
        for j in range(columns):
            for value, mean in zip(
                averaged[i, j], exact(image, (top, left), (step_y, step_x), i, j), strict=True
            ):
                assert abs(int(value) - mean) <= Fraction(1, 2) + Fraction(1, 1000)


@given(SEEDS, st.integers(1, 33), st.integers(1, 33), st.integers(1, 5), st.integers(1, 5))
def test_whole_factors_give_the_nearest_level_without_any_tolerance(
    seed: int, down: int, across: int, rows: int, columns: int
) -> None:
    """Would catch a fast path whose numbers are not those of the mean: sums of bytes are exact."""
    image = drawn(seed, rows * down, columns * across)
    averaged = area_average(image, (0.0, 0.0), (float(down), float(across)), (rows, columns)).astype(int)
    area = down * across
    sums = image.reshape(rows, down, columns, across, 3).sum(axis=(1, 3), dtype=int)
    assert (2 * np.abs(averaged * area - sums) <= area).all()


@given(SEEDS, STEPS, STEPS, st.integers(2, 40), st.integers(2, 40), st.data())
def test_a_part_is_averaged_as_in_the_whole(
    seed: int, step_y: float, step_x: float, rows: int, columns: int, data: st.DataObject
) -> None:
    """Would catch weights or sums that depend on what else is averaged: seams between blocks, tiles that are no crop."""
    image = drawn(seed, int(np.ceil(rows * step_y)), int(np.ceil(columns * step_x)))
    whole = area_average(image, (0.0, 0.0), (step_y, step_x), (rows, columns))
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    down, across = data.draw(st.integers(1, rows - top)), data.draw(st.integers(1, columns - left))
    first_y, first_x = int(top * step_y), int(left * step_x)
    origin = (top * step_y - first_y, left * step_x - first_x)
    part = area_average(image[first_y:, first_x:], origin, (step_y, step_x), (down, across))
    if (step_y.is_integer() and step_x.is_integer()) or origin != (0, 0):
        np.testing.assert_array_equal(part, whole[top : top + down, left : left + across])
    assert np.abs(part.astype(int) - whole[top : top + down, left : left + across]).max() <= 1


@given(st.integers(0, 255), ORIGINS, ORIGINS, STEPS, STEPS)
def test_an_even_picture_stays_even(
    level: int, top: float, left: float, step_y: float, step_x: float
) -> None:
    """Would catch a scale that darkens or brightens."""
    image = np.full((int(np.ceil(top + 3 * step_y)), int(np.ceil(left + 3 * step_x)), 3), level, np.uint8)
    assert (area_average(image, (top, left), (step_y, step_x), (3, 3)) == level).all()
