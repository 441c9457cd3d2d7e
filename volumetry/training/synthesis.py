"""Lesions put into real lungs, in HU; their truth is exact because we made it.

What they imitate is what readers describe in COVID-19 and organising pneumonia (Fleischner glossary: ground glass
leaves vessels visible, consolidation hides them): several patches, most of them at the pleura and towards the back
and the base, ragged and soft-edged, hazy or dense, dense ones sometimes with a hazy halo or with air inside, and
now and then a whole dependent part of a lung filled.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.filters import gaussian

from volumetry.domain import Box, Vector
from volumetry.training.samples import AERATED, GROUND_GLASS, SOLID

MIN_LUNG_VOXELS = 400
RIM_MM = 2.0
"""How far beyond the lung's mask its blurred edge reaches."""
OPEN_HU = -700.0
"""What is darker outside the lung is an airway, no half-filled voxel of its edge."""


@dataclass(frozen=True, slots=True)
class Lesions:
    """How many lesions of what size and density are drawn.

    Parameters
    ----------
    count
        Fewest and most patches.
    radius_mm
        Smallest and largest; even in its logarithm.
    solid
        Share of patches that are dense.
    dependent
        Chance that a dependent part of the lungs is filled as well.
    back
        How strongly lesions at the pleura prefer the back; with 0 every wall, the heart and the spine are alike.
    touching
        Whether dense lesions meet the wall without the line of half-filled voxels that borders a healthy lung; a
        dependent part keeps it.
    dense_hu, hazy_hu
        Lowest and highest mean of a dense and of a hazy lesion.
    hazy_texture_hu
        Least and largest deviation of a hazy lesion's texture.
    faintness
        Power of the even draw that sets a hazy lesion's mean: with 2, half of them lie in the lowest quarter.
    edge
        Sharpest and softest rim of a patch, as a share of its radius.
    segment
        Chance that what lies beyond some plane is filled: an apex, a base, a recess.
    """

    count: tuple[int, int] = (1, 5)
    radius_mm: tuple[float, float] = (4.0, 45.0)
    solid: float = 0.45
    dependent: float = 0.15
    back: float = 2.0
    touching: bool = False
    dense_hu: tuple[float, float] = (-80.0, 80.0)
    hazy_hu: tuple[float, float] = (-700.0, -320.0)
    hazy_texture_hu: tuple[float, float] = (20.0, 110.0)
    faintness: float = 1.0
    edge: tuple[float, float] = (0.05, 0.35)
    segment: float = 0.0


def with_lesions(
    hu_kji: NDArray[np.float32],
    lung_kji: NDArray[np.bool_],
    spacing_kji_mm: Vector,
    rng: np.random.Generator,
    plan: Lesions | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An axial volume, or a stack of one slice, with lesions in its lungs.

    Parameters
    ----------
    hu_kji, lung_kji
        Axes to the head, the back and the patient's left; lungs without disease.

    Returns
    -------
    The volume in HU, and its truth map: a voxel belongs to a lesion where the lesion makes up half of it.
    """
    plan = plan or Lesions()
    hu, truth = hu_kji.copy(), np.where(lung_kji, int(AERATED), 0).astype(np.uint8)
    if np.count_nonzero(lung_kji) < MIN_LUNG_VOXELS:
        return hu, truth
    where = np.argwhere(lung_kji)
    likely = _at_pleura_and_back(lung_kji, where, spacing_kji_mm, plan.back)
    for _ in range(int(rng.integers(plan.count[0], plan.count[1] + 1))):
        solid = bool(rng.random() < plan.solid)
        beside = bool(rng.random() < (0.8 if solid else 0.6))
        centre = where[int(rng.choice(len(where), p=likely if beside else None))]
        radius_mm = float(np.exp(rng.uniform(*np.log(plan.radius_mm))))
        box, share = _patch(lung_kji, centre, radius_mm, spacing_kji_mm, rng, plan.edge)
        if solid and rng.random() < 0.3:
            wide_mm = radius_mm * rng.uniform(1.15, 1.6)
            _hazy(hu, truth, *_patch(lung_kji, centre, wide_mm, spacing_kji_mm, rng, plan.edge), rng, plan)
        (_dense if solid else _hazy)(hu, truth, box, share, rng, plan)
        if solid and plan.touching:
            level_hu = float(np.median(hu[box][share >= 0.5])) if (share >= 0.5).any() else 0.0
            hu[box] = rim_filled_to(hu[box], share >= 0.5, lung_kji[box], spacing_kji_mm, level_hu)
    if rng.random() < plan.dependent:
        whole = (slice(None),) * 3
        _dense(hu, truth, whole, _dependent_part(lung_kji, where, rng), rng, plan)
    if plan.segment and rng.random() < plan.segment:
        box, share = _beyond_a_plane(lung_kji, where, spacing_kji_mm, rng)
        (_dense if rng.random() < plan.solid else _hazy)(hu, truth, box, share, rng, plan)
    return hu, truth


def _hazy(
    hu: NDArray[np.float32],
    truth: NDArray[np.uint8],
    box: Box,
    share: NDArray[np.float32],
    rng: np.random.Generator,
    plan: Lesions,
) -> None:
    """Ground glass: lifts the lung towards the plan's HU; what is denser, as vessels are, shines through."""
    opacity = share * np.float32(rng.uniform(0.7, 1.0))
    lowest, highest = plan.hazy_hu
    level_hu = lowest + (highest - lowest) * rng.random() ** plan.faintness
    mixed = _mixed(hu[box], opacity, level_hu, float(rng.uniform(*plan.hazy_texture_hu)), rng)
    dense = truth[box] == int(SOLID)
    hu[box] = np.where(dense, hu[box], np.maximum(hu[box], mixed))
    truth[box] = np.where((share >= 0.5) & ~dense & (truth[box] > 0), int(GROUND_GLASS), truth[box])


def _dense(
    hu: NDArray[np.float32],
    truth: NDArray[np.uint8],
    box: Box,
    share: NDArray[np.float32],
    rng: np.random.Generator,
    plan: Lesions,
) -> None:
    """Consolidation: soft tissue that hides the vessels; now and then with air-filled bronchi in it."""
    filled = _mixed(hu[box], share, float(rng.uniform(*plan.dense_hu)), float(rng.uniform(5, 40)), rng)
    if rng.random() < 0.4:
        air = np.clip(_noise(share.shape, 1.3, rng) - 1.6, 0, 1) * np.clip(2 * share - 1, 0, 1)
        filled = filled * (1 - air) - 850 * air
    hu[box] = filled
    truth[box] = np.where((share >= 0.5) & (truth[box] > 0), int(SOLID), truth[box])


def rim_filled_to(
    hu: NDArray[np.float32],
    lesion: NDArray[np.bool_],
    lung: NDArray[np.bool_],
    spacing_kji_mm: Vector,
    level_hu: NDArray[np.float32] | float,
) -> NDArray[np.float32]:
    """Half-filled voxels between the lung and its wall, filled where a lesion lies at them.

    They border air-filled lung; left dark beside a lesion, they would draw a line around it.
    """
    away_mm = distance_transform_edt(~lesion, sampling=spacing_kji_mm) if lesion.any() else np.inf
    rim = (away_mm <= RIM_MM) & ~lung
    return np.asarray(np.where(rim, np.maximum(hu, level_hu), hu), np.float32)


def rim_filled_as_beside(
    hu_kji: NDArray[np.float32],
    lesion_kji: NDArray[np.bool_],
    lung_kji: NDArray[np.bool_],
    spacing_kji_mm: Vector,
) -> NDArray[np.float32]:
    """Half-filled voxels at the lung's wall, filled as the lesion voxel beside them; airways stay open."""
    if not lesion_kji.any():
        return hu_kji
    away_mm, nearest = distance_transform_edt(~lesion_kji, sampling=spacing_kji_mm, return_indices=True)
    rim = (away_mm <= RIM_MM) & ~lung_kji & (hu_kji > OPEN_HU)
    filled = hu_kji.copy()
    filled[rim] = np.maximum(hu_kji[rim], hu_kji[tuple(axis[rim] for axis in nearest)])
    return filled


def _mixed(
    hu: NDArray[np.float32],
    share: NDArray[np.float32],
    level_hu: float,
    texture_hu: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    texture = _noise(hu.shape, float(rng.uniform(0.7, 2.5)), rng) * np.float32(texture_hu)
    mixed: NDArray[np.float32] = (hu * (1 - share) + (np.float32(level_hu) + texture) * share).astype(np.float32)
    return mixed


def _patch(
    lung_kji: NDArray[np.bool_],
    centre_kji: NDArray[np.int64],
    radius_mm: float,
    spacing_kji_mm: Vector,
    rng: np.random.Generator,
    edge: tuple[float, float],
) -> tuple[Box, NDArray[np.float32]]:
    """A soft-edged, ragged ellipsoid inside the lung: the box it lies in and its share of each voxel there."""
    stretch = np.exp(rng.uniform(-0.5, 0.5, 3))
    stretch /= np.cbrt(stretch.prod())
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    reach_mm = 1.6 * radius_mm * stretch.max()
    low = [max(0, int(c - reach_mm / step)) for c, step in zip(centre_kji, spacing_kji_mm, strict=True)]
    high = [
        min(size, int(c + reach_mm / step) + 2)
        for c, step, size in zip(centre_kji, spacing_kji_mm, lung_kji.shape, strict=True)
    ]
    box: Box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    axes = [
        (np.arange(a, b, dtype=np.float32) - c) * step
        for a, b, c, step in zip(low, high, centre_kji, spacing_kji_mm, strict=True)
    ]
    offset = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    distance = np.linalg.norm((offset @ turn.astype(np.float32)) / stretch.astype(np.float32), axis=-1) / radius_mm
    grain_px = max(1.2, radius_mm / rng.uniform(3, 8) / spacing_kji_mm[1])
    ragged = distance + rng.uniform(0.08, 0.4) * _noise(distance.shape, grain_px, rng)
    softness = float(rng.uniform(*edge))
    return box, np.asarray(np.clip((1 - ragged) / softness + 0.5, 0, 1) * lung_kji[box], np.float32)


def _dependent_part(
    lung_kji: NDArray[np.bool_], where: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """The back of one or both lungs, more of it towards the base."""
    low, high = where.min(axis=0), where.max(axis=0)
    k, j, i = (np.arange(size, dtype=np.float32) for size in lung_kji.shape)
    back = ((j - low[1]) / max(1, high[1] - low[1]))[None, :, None]
    base = ((high[0] - k) / max(1, high[0] - low[0]))[:, None, None]
    level = back + 0.25 * base + 0.06 * _noise(lung_kji.shape, 6.0, rng)
    share = np.clip((level - rng.uniform(0.85, 1.1)) / 0.08 + 0.5, 0, 1) * lung_kji
    if rng.random() < 0.6:
        middle = np.median(where[:, 2])
        share = share * ((i < middle) if rng.random() < 0.5 else (i >= middle))[None, None]
    return np.asarray(share, np.float32)


def _beyond_a_plane(
    lung_kji: NDArray[np.bool_], where: NDArray[np.int64], spacing_kji_mm: Vector, rng: np.random.Generator
) -> tuple[Box, NDArray[np.float32]]:
    """Up to an eighth of the lungs, cut off by a ragged plane of any direction."""
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box: Box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    step_mm = direction * spacing_kji_mm
    level_mm = np.quantile(where @ step_mm, 1 - rng.uniform(0.02, 0.125))
    axes = (np.arange(a, b) * step for a, b, step in zip(low, high, step_mm, strict=True))
    beyond_mm = sum(np.meshgrid(*axes, indexing="ij", sparse=True)) - level_mm
    ragged_mm = beyond_mm + rng.uniform(1, 6) * _noise(lung_kji[box].shape, float(rng.uniform(3, 8)), rng)
    return box, np.asarray(np.clip(ragged_mm / rng.uniform(0.5, 6) + 0.5, 0, 1) * lung_kji[box], np.float32)


def _at_pleura_and_back(
    lung_kji: NDArray[np.bool_], where: NDArray[np.int64], spacing_kji_mm: Vector, preference: float
) -> NDArray[np.float64]:
    """Chance of each lung voxel to be a patch's centre: falls from the pleura, rises to the back."""
    outside = sitk.GetImageFromArray((~lung_kji).astype(np.uint8))
    outside.SetSpacing(tuple(float(step) for step in spacing_kji_mm[::-1]))
    depth = sitk.SignedMaurerDistanceMap(outside, False, False, True)  # inside is negative, mm, not squared
    depth_mm = np.maximum(sitk.GetArrayFromImage(depth), 0)[tuple(where.T)]
    back = (where[:, 1] - where[:, 1].min()) / (np.ptp(where[:, 1]) + 1)
    weight = np.exp(-depth_mm / 6) * np.exp(preference * back)
    return np.asarray(weight / weight.sum(), np.float64)


def _noise(shape: tuple[int, ...], sigma_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of unit deviation."""
    smooth = gaussian(rng.standard_normal(shape, np.float32), [0 if side == 1 else sigma_px for side in shape])
    return np.asarray(smooth / (smooth.std() + 1e-6), np.float32)
