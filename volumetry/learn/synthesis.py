"""Lesions put into real lungs, and simple drawn thoraxes: slices in HU whose truth is exact because we made it."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from skimage.filters import gaussian

from volumetry.learn.samples import AERATED, GROUND_GLASS, SOLID

MIN_LUNG_PX = 400


def with_lesions(
    hu_ji: NDArray[np.float32], lung_ji: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A slice without disease, with one to five lesions in its lungs.

    Ground glass lifts the lung towards -650 to -320 HU and lets vessels shine through; solid lesions are soft
    tissue and prefer the pleura and the back, as consolidation does in a lying patient.

    Returns
    -------
    The slice in HU and its truth map.
    """
    hu, truth = hu_ji.copy(), np.where(lung_ji, int(AERATED), 0).astype(np.uint8)
    if lung_ji.sum() < MIN_LUNG_PX:
        return hu, truth
    depth = _depth(lung_ji)
    for _ in range(int(rng.integers(1, 6))):
        solid = bool(rng.random() < 0.45)
        density = _blob(lung_ji, depth, rng, at_pleura=0.8 if solid else 0.6)
        if solid:
            hu = _blended(hu, density, float(rng.uniform(-60, 70)), float(rng.uniform(5, 40)), rng)
            truth[density > 0.5] = int(SOLID)
            rim = (density > 0.15) & (density <= 0.5) & (truth == int(AERATED))
            truth[rim] = int(GROUND_GLASS)
        else:
            opacity = density * float(rng.uniform(0.6, 1.0))
            hazy = _blended(hu, opacity, float(rng.uniform(-650, -320)), float(rng.uniform(30, 110)), rng)
            hu = np.where(truth == int(SOLID), hu, np.maximum(hu, hazy))
            truth[(density > 0.35) & (truth == int(AERATED))] = int(GROUND_GLASS)
    return hu, truth


def _blended(
    hu: NDArray[np.float32],
    share: NDArray[np.float32],
    level_hu: float,
    texture_hu: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    texture = _noise(hu.shape, float(rng.uniform(0.7, 2.5)), rng) * texture_hu
    mixed: NDArray[np.float32] = (hu * (1 - share) + (level_hu + texture) * share).astype(np.float32)
    return mixed


def _depth(lung_ji: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Pixels to the edge of the lung."""
    outside = sitk.GetImageFromArray((~lung_ji).astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(outside, insideIsPositive=False, squaredDistance=False)
    return np.asarray(np.maximum(sitk.GetArrayFromImage(distance), 0), np.float32)


def _blob(
    lung_ji: NDArray[np.bool_], depth: NDArray[np.float32], rng: np.random.Generator, at_pleura: float
) -> NDArray[np.float32]:
    """A soft-edged, ragged shape inside the lung, 0 to 1."""
    rows, columns = np.nonzero(lung_ji)
    weight = np.ones(len(rows))
    if rng.random() < at_pleura:
        weight = np.exp(-depth[rows, columns] / 4) * np.exp(2.0 * (rows - rows.min()) / (np.ptp(rows) + 1))
    centre = int(rng.choice(len(rows), p=weight / weight.sum()))
    y, x = np.indices(lung_ji.shape, np.float32)
    y, x = y - rows[centre], x - columns[centre]
    angle, stretch = rng.uniform(0, np.pi), float(np.exp(rng.uniform(0, 0.8)))
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    radius = float(np.exp(rng.uniform(np.log(3), np.log(35))))
    distance = np.hypot(along / stretch, across * stretch) / radius
    ragged = distance + rng.uniform(0.1, 0.5) * _noise(lung_ji.shape, max(1.5, radius / rng.uniform(3, 8)), rng)
    softness = float(rng.uniform(0.05, 0.35))
    shape = np.clip((1 - ragged) / softness + 0.5, 0, 1) * lung_ji
    return np.asarray(shape, np.float32)


def _noise(shape_ji: tuple[int, ...], sigma_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    smooth = gaussian(rng.standard_normal(shape_ji), sigma_px)
    return np.asarray(smooth / (smooth.std() + 1e-6), np.float32)


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
        hu, truth = with_lesions(hu, lung, rng)
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
