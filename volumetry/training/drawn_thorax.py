"""Simple thoraxes drawn from ellipses: slices in HU whose truth is exact because we made them."""

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian

from volumetry.training.samples import AERATED, GROUND_GLASS, SOLID
from volumetry.training.synthesis import Lesions, with_lesions

DRAWN_MM = 1.4


def drawn_thorax(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A thorax of ellipses in HU with table, spine, trachea, vessels and lesions, and its truth map."""
    side = int(rng.integers(200, 300))
    y, x = np.indices((side, side), np.float32) / side * 2 - 1
    hu = np.full((side, side), -1000.0, np.float32)

    def ellipse(row: float, column: float, high: float, wide: float) -> NDArray[np.bool_]:
        return np.asarray(((y - row) / high) ** 2 + ((x - column) / wide) ** 2 < 1)

    high, wide = rng.uniform(0.5, 0.72), rng.uniform(0.7, 0.95)
    fat = rng.uniform(0.02, 0.1)
    hu[(y > high + 0.04) & (y < high + rng.uniform(0.07, 0.15)) & (np.abs(x) < 0.8)] = rng.uniform(-800, 100)
    hu[ellipse(0, 0, high, wide)] = -100
    hu[ellipse(0, 0, high - fat, wide - fat)] = rng.uniform(0, 60)
    lung = np.zeros((side, side), bool)
    if rng.random() < 0.85:
        for sign in (-1, 1):
            lung |= ellipse(
                rng.uniform(-0.1, 0.05),
                sign * rng.uniform(0.36, 0.45) * wide,
                (high - fat) * rng.uniform(0.4, 0.85),
                wide * rng.uniform(0.2, 0.36),
            )
    hu[lung] = rng.uniform(-900, -780)
    for _ in range(int(rng.integers(0, 40))):
        vessel = ellipse(rng.uniform(-0.5, 0.5), rng.uniform(-0.8, 0.8), *rng.uniform(0.008, 0.03, 2))
        hu[vessel & lung] = rng.uniform(-100, 60)
    lung &= ~ellipse(high * 0.55, 0, 0.14, 0.12)
    hu[ellipse(high * 0.55, 0, 0.14, 0.12)] = rng.uniform(200, 700)
    airway = ellipse(-0.05, 0, 0.06, 0.05)
    hu[airway] = -1000
    lung &= ~airway
    truth = np.where(lung, int(AERATED), 0).astype(np.uint8)
    if rng.random() < 0.6:
        sick, drawn = with_lesions(hu[None], lung[None], (2.0, DRAWN_MM, DRAWN_MM), rng, Lesions(dependent=0.1))
        hu, truth = sick[0], drawn[0]
    elif rng.random() < 0.5:
        hu, truth = _with_balls(hu, lung, truth, rng)
    hu = np.asarray(gaussian(hu, rng.uniform(0, 1.2), preserve_range=True), np.float32)
    hu += rng.uniform(3, 40) * rng.standard_normal(hu.shape).astype(np.float32)
    return hu, truth


def _with_balls(
    hu: NDArray[np.float32], lung: NDArray[np.bool_], truth: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Round, sharp, even lesions, as digital reference objects have them."""
    rows, columns = np.nonzero(lung)
    y, x = np.indices(hu.shape, np.float32)
    for _ in range(int(rng.integers(1, 4)) if len(rows) else 0):
        centre = int(rng.integers(len(rows)))
        ball = np.hypot(y - rows[centre], x - columns[centre]) < rng.uniform(4, 25)
        solid = rng.random() < 0.5
        hu[ball & lung] = rng.uniform(-40, 80) if solid else rng.uniform(-700, -350)
        truth[ball & lung] = int(SOLID if solid else GROUND_GLASS)
    return hu, truth
