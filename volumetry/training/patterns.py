"""Diffuse disease drawn into lungs without any, as varied as readers describe it; its truth is exact.

A network that is taught by readers' outlines learns from them what haze and consolidation look like. One that has
only drawn disease learns what is drawn. So here are patches of any number and size, under the pleura, towards
the back or the base, in one lung or both; faint to dense, uneven, with septa in them (crazy paving), with cores of
consolidation and open bronchi in these; and, before any of it, lungs as they also look without disease.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

from volumetry.domain import Box, Vector
from volumetry.training.samples import AERATED, GROUND_GLASS, SOLID, Truth
from volumetry.training.synthesis import rim_filled_as_beside


@dataclass(frozen=True, slots=True)
class Haze:
    """How dense and how even drawn ground glass is.

    Parameters
    ----------
    denser_by_hu
        The faintest haze, above the lung's median.
    densest_hu
        The densest haze.
    faintness
        Power of the even draw between the two: with 2, half of the haze lies in the lowest quarter.
    uneven_hu
        Largest deviation over centimetres.
    texture_hu
        Least and largest deviation over millimetres.
    """

    denser_by_hu: float = 90.0
    densest_hu: float = -300.0
    faintness: float = 1.0
    uneven_hu: float = 70.0
    texture_hu: tuple[float, float] = (10.0, 90.0)


USUAL_HAZE = Haze()
"""A reader sees the faintest of it, and noise does not hide it."""
EXTENT = (0.004, 0.6)
"""Smallest and largest diseased share of the lungs; even in its logarithm."""
DENSE_HU = (-130.0, 80.0)
AIR_HU = -870.0
EMPHYSEMA_HU = -965.0
MARGIN = 2


@dataclass(frozen=True, slots=True, eq=False)
class Lungs:
    """Lungs in their box, and where in them a voxel lies.

    Parameters
    ----------
    box
        Of the lungs in the volume.
    mask
        (k, j, i) in the box.
    depth_mm
        From the surface, 0 outside.
    """

    box: Box
    mask: NDArray[np.bool_]
    depth_mm: NDArray[np.float32]
    spacing_kji_mm: Vector

    @classmethod
    def of(cls, lung_kji: NDArray[np.bool_], spacing_kji_mm: Vector) -> "Lungs":
        """The lungs of a volume; there must be some."""
        where = np.argwhere(lung_kji)
        low, high = np.maximum(where.min(axis=0) - MARGIN, 0), where.max(axis=0) + 1 + MARGIN
        box: Box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        mask = lung_kji[box]
        depth = distance_transform_edt(mask, sampling=spacing_kji_mm).astype(np.float32)
        return cls(box, mask, depth, spacing_kji_mm)

    def field(self, cell_mm: float, rng: np.random.Generator, octaves: int = 1) -> NDArray[np.float32]:
        """Smooth noise of unit deviation; `cell_mm` from one independent value to the next."""
        total = np.zeros(self.mask.shape, np.float32)
        for octave in range(octaves):
            size = [
                max(2, int(np.ceil(n * step * 2**octave / cell_mm)) + 1)
                for n, step in zip(self.mask.shape, self.spacing_kji_mm, strict=True)
            ]
            size = [min(cells, n) for cells, n in zip(size, self.mask.shape, strict=True)]
            coarse = torch.from_numpy(rng.standard_normal((1, 1, *size), np.float32))
            fine = functional.interpolate(coarse, self.mask.shape, mode="trilinear", align_corners=True)
            total += fine[0, 0].numpy() / 2**octave
        return total / np.float32(total.std() + 1e-6)

    @property
    def back(self) -> NDArray[np.float32]:
        """0 in front to 1 at the back, (1, j, 1)."""
        return np.linspace(0, 1, self.mask.shape[1], dtype=np.float32)[None, :, None]

    @property
    def up(self) -> NDArray[np.float32]:
        """0 at the base to 1 at the apex, (k, 1, 1)."""
        return np.linspace(0, 1, self.mask.shape[0], dtype=np.float32)[:, None, None]


def with_patterns(
    hu_kji: NDArray[np.float32],
    lung_kji: NDArray[np.bool_],
    lungs: Lungs,
    rng: np.random.Generator,
    haze: Haze = USUAL_HAZE,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An axial volume with diffuse disease in its lungs, and its truth map.

    Parameters
    ----------
    hu_kji, lung_kji
        Axes to the head, the back and the patient's left; lungs without disease.
    lungs
        `Lungs.of` this mask.
    haze
        How dense its ground glass is.
    """
    hu, truth = hu_kji.copy(), np.where(lung_kji, int(AERATED), 0).astype(np.uint8)
    inside = _as_lungs_also_look(hu[lungs.box], lungs, rng)
    drawn = truth[lungs.box]
    for _ in range(1 if rng.random() < 0.6 else 2):
        score, level = _score(lungs, rng), float(np.exp(rng.uniform(*np.log(EXTENT))))
        share = _share(score, lungs.mask, level, float(rng.uniform(0.05, 0.6)))
        before = drawn == int(SOLID)
        inside = np.where(before, inside, _hazy(inside, share, lungs, rng, haze))
        drawn = np.where((share >= 0.5) & ~before & lungs.mask, int(GROUND_GLASS), drawn).astype(np.uint8)
        if rng.random() < 0.55:
            core_score = score + np.float32(rng.uniform(0.3, 1.2)) * lungs.field(float(rng.uniform(8, 25)), rng, 2)
            part = level * float(rng.uniform(0.1, 0.9) if rng.random() < 0.8 else rng.uniform(0.9, 1.2))
            core = _share(core_score, lungs.mask, part, float(rng.uniform(0.03, 0.4)))
            inside = _dense(inside, core, lungs, rng)
            drawn = np.where((core >= 0.5) & lungs.mask, int(SOLID), drawn).astype(np.uint8)
    hu[lungs.box], truth[lungs.box] = inside, drawn
    solid = (truth[lungs.box] & Truth.SOLID) > 0
    hu[lungs.box] = rim_filled_as_beside(hu[lungs.box], solid, lungs.mask, lungs.spacing_kji_mm)
    return hu, truth


def _as_lungs_also_look(hu: NDArray[np.float32], lungs: Lungs, rng: np.random.Generator) -> NDArray[np.float32]:
    """Breathed out, denser towards the back, or with emphysema: no disease that is measured."""
    if rng.random() < 0.6:
        hu = hu + lungs.mask * np.float32(rng.uniform(0, 60)) + lungs.mask * rng.uniform(0, 90) * lungs.back**2
    if rng.random() < 0.25:
        holes = np.clip((lungs.field(float(rng.uniform(6, 25)), rng, 2) - rng.uniform(0.6, 1.6)) / 0.3, 0, 1)
        holes = holes * (lungs.mask & (hu < -700))
        hu = hu * (1 - holes) + np.float32(EMPHYSEMA_HU) * holes
    return np.asarray(hu, np.float32)


def _score(lungs: Lungs, rng: np.random.Generator) -> NDArray[np.float32]:
    """Where disease is: the higher, the earlier."""
    score = rng.uniform(0.5, 1.4) * lungs.field(float(rng.uniform(25, 90)), rng)
    score = score + rng.uniform(0.15, 0.7) * lungs.field(float(rng.uniform(10, 24)), rng, 3)
    if rng.random() < 0.65:
        score = score + rng.uniform(0.8, 3.5) * np.exp(-lungs.depth_mm / np.float32(rng.uniform(5, 25)))
    score = score + rng.uniform(-0.5, 2.5) * lungs.back - rng.uniform(-1.0, 2.0) * lungs.up
    if rng.random() < 0.35:
        left = np.arange(lungs.mask.shape[2]) >= np.median(np.flatnonzero(lungs.mask.any(axis=(0, 1))))
        score = score - 4 * (left if rng.random() < 0.5 else ~left)[None, None]
    return np.asarray(score, np.float32)


def _share(
    score: NDArray[np.float32], mask: NDArray[np.bool_], extent: float, softness: float
) -> NDArray[np.float32]:
    """0 to 1: how much of a voxel is diseased, when `extent` of the lung is by half or more."""
    values = score[mask][::7]
    level = np.quantile(values, 1 - min(extent, 0.95))
    return np.asarray(np.clip((score - level) / softness + 0.5, 0, 1) * mask, np.float32)


def _hazy(
    hu: NDArray[np.float32], share: NDArray[np.float32], lungs: Lungs, rng: np.random.Generator, haze: Haze
) -> NDArray[np.float32]:
    """Ground glass: the lung denser, vessels shine through; now and then with the septa between lobules."""
    usual = float(np.median(hu[lungs.mask][::7]))
    lowest = min(max(usual + haze.denser_by_hu, -780.0), haze.densest_hu - 50)
    mean_hu = lowest + (haze.densest_hu - lowest) * rng.random() ** haze.faintness
    level = mean_hu + rng.uniform(0, haze.uneven_hu) * lungs.field(float(rng.uniform(12, 40)), rng)
    level = level + rng.uniform(*haze.texture_hu) * lungs.field(float(rng.uniform(2, 6)), rng)
    if rng.random() < 0.35:
        septa = np.clip(1 - np.abs(lungs.field(float(rng.uniform(7, 14)), rng)) / rng.uniform(0.08, 0.2), 0, 1)
        level = level + rng.uniform(80, 280) * septa
    level = np.maximum(level, usual + haze.denser_by_hu / 2)
    opacity = share * np.float32(rng.uniform(0.8, 1.0))
    return np.asarray(np.maximum(hu, hu * (1 - opacity) + level * opacity), np.float32)


def _dense(
    hu: NDArray[np.float32], share: NDArray[np.float32], lungs: Lungs, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Consolidation: vessels vanish in it; half of them with bronchi that stay open."""
    level = rng.uniform(*DENSE_HU) + rng.uniform(5, 40) * lungs.field(float(rng.uniform(2, 8)), rng)
    filled = hu * (1 - share) + level.astype(np.float32) * share
    if rng.random() < 0.5:
        cell, wide = float(rng.uniform(10, 25)), float(rng.uniform(0.12, 0.3))
        away = np.hypot(lungs.field(cell, rng), lungs.field(cell, rng))
        open_ = np.clip(1.5 - away / wide, 0, 1) * np.clip(2 * share - 1, 0, 1)
        filled = filled * (1 - open_) + np.float32(AIR_HU) * open_
    return np.asarray(filled, np.float32)
