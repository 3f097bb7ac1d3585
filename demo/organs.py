"""Which organs and stains there are: those that the public base has seen, and those that only the hospitals have."""

from __future__ import annotations

import numpy as np

from demo.tissue import Organ, Stain


def public_organ(rng: np.random.Generator) -> Organ:
    """One of the many organs of the public pretraining set: every property drawn from a range."""
    radius, elongation = rng.uniform(10, 14), rng.uniform(1.1, 1.5)
    nucleus, tumour, fat, lymphocyte = (
        rng.uniform(1.8, 2.4),
        rng.uniform(2.5, 3.4),
        rng.uniform(7, 11),
        rng.uniform(1.5, 2.0),
    )
    lumen = rng.uniform(0.35, 0.5)
    return Organ(
        "public",
        gland_radius=(radius, radius + rng.uniform(6, 10)),
        gland_elongation=(1.0, elongation),
        lumen=(lumen, lumen + 0.2),
        lumen_density=rng.uniform(0.02, 0.25),
        nucleus=(nucleus, nucleus + 0.6),
        tumour_nucleus=(tumour, tumour + 1.0),
        tumour_matrix=rng.uniform(0.25, 0.5),
        fibre_period=rng.uniform(7, 14),
        fibre_contrast=rng.uniform(0.06, 0.2),
        stroma_cells=int(rng.integers(12, 34)),
        fat_radius=(fat, fat + 4),
        lymphocyte=(lymphocyte, lymphocyte + 0.5),
    )


def public_stain(rng: np.random.Generator) -> Stain:
    """An ordinary H&E of the public set: both dyes and the glass vary a little."""
    h = np.array((0.65, 0.70, 0.29)) + rng.normal(0, 0.05, 3)
    e = np.array((0.09, 0.85, 0.20)) + rng.normal(0, 0.05, 3)
    r, g, b = (float(v) for v in np.clip(h, 0.02, None))
    u, v, w = (float(x) for x in np.clip(e, 0.02, None))
    level = int(rng.integers(236, 250))
    return Stain(
        "public", (r, g, b), (u, v, w), (rng.uniform(0.75, 1.25), rng.uniform(0.75, 1.25)), (level,) * 3
    )
