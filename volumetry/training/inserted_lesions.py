"""Single lesions of a wished volume in real lungs: how far the measured volume is from the true one.

The lesion is a ragged blob that ends at the pleura; it has exactly as many voxels as its volume needs, on the
scanner's own grid, so its truth is exact. `synthesis` makes what looks like disease, this what can be counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.domain import Vector
from volumetry.errors import InputError
from volumetry.training.samples import AERATED, GROUND_GLASS, SOLID
from volumetry.training.synthesis import rim_filled_to

RAGGED = 0.2
"""How far the outline leaves a ball, as a share of its radius."""
GRAIN_PER_RADIUS = 0.3
BLUR_MM = 0.6
"""Standard deviation of a scanner's blur at the lesion's edge; half-way lies at the edge itself."""
TEXTURE_HU = 25.0
SOLID_FROM_HU = -300.0
"""The trial's registered cut between ground glass and solid."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One lesion.

    Parameters
    ----------
    volume_ml
        Of the lesion, met to half a voxel.
    level_hu
        Mean HU: above -300 it is solid and hides vessels, below it is ground glass and they shine through.
    """

    volume_ml: float
    level_hu: float

    @property
    def solid(self) -> bool:
        """Whether it is consolidation."""
        return self.level_hu >= SOLID_FROM_HU


def with_planted_lesion(
    hu_kji: NDArray[np.float32],
    lung_kji: NDArray[np.bool_],
    spacing_kji_mm: Vector,
    rng: np.random.Generator,
    plan: Plan,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The volume with one lesion at a random place of its lungs, and the truth of every voxel.

    Returns
    -------
    HU, and a truth map of `learn.samples` (aerated, ground glass or solid; 0 outside the lung).

    Raises
    ------
    InputError
        If the lung at hand is smaller than the lesion.
    """
    voxel_ml = float(np.prod(spacing_kji_mm)) / 1000
    wanted = round(plan.volume_ml / voxel_ml)
    where = np.flatnonzero(lung_kji)
    if wanted < 1 or len(where) < 2 * wanted:
        raise InputError(
            f"a lesion of {plan.volume_ml:g} mL does not fit a lung of {len(where) * voxel_ml:.0f} mL"
        )
    centre = np.array(np.unravel_index(int(rng.choice(where)), lung_kji.shape))
    radius_mm = float(np.cbrt(3 * plan.volume_ml * 1000 / 4 / np.pi))
    box, own = _lung_around(lung_kji, centre, spacing_kji_mm, radius_mm, wanted)
    lesion = _blob(own, centre - [part.start for part in box], spacing_kji_mm, rng, radius_mm, wanted)

    share = _blurred(lesion, lung_kji[box], spacing_kji_mm)
    level = plan.level_hu + TEXTURE_HU * _noise(lesion.shape, (1.0, 1.0, 1.0), rng)
    hu, truth = hu_kji.copy(), np.where(lung_kji, int(AERATED), 0).astype(np.uint8)
    mixed = hu[box] * (1 - share) + level * share
    hu[box] = mixed if plan.solid else np.maximum(hu[box], mixed)
    hu[box] = rim_filled_to(hu[box], lesion, lung_kji[box], spacing_kji_mm, level.astype(np.float32))
    truth[box][lesion] = int(SOLID if plan.solid else GROUND_GLASS)
    return hu, truth


def _lung_around(
    lung: NDArray[np.bool_], centre: NDArray[np.int64], spacing: Vector, radius_mm: float, wanted: int
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """A box around the centre, and the lung in it that is one with the centre: no lesion is in both lungs.

    At the pleura a lesion reaches further inwards, so the box grows until it holds lung enough.
    """
    for factor in (1.6, 2.2, 3.0, 4.0, 6.0, 100.0):
        low, high = (
            [int(at + sign * factor * radius_mm / step) for at, step in zip(centre, spacing, strict=True)]
            for sign in (-1, 1)
        )
        box = (
            slice(max(0, low[0]), high[0] + 2),
            slice(max(0, low[1]), high[1] + 2),
            slice(max(0, low[2]), high[2] + 2),
        )
        bodies, _ = ndimage.label(lung[box])
        own: NDArray[np.bool_] = bodies == bodies[tuple(centre - [part.start for part in box])]
        if np.count_nonzero(own) >= 2 * wanted:
            return box, own
    raise InputError(f"the lung around the place chosen is too small for a lesion of {wanted} voxels")


def _blob(
    lung: NDArray[np.bool_],
    centre: NDArray[np.int64],
    spacing: Vector,
    rng: np.random.Generator,
    radius_mm: float,
    wanted: int,
) -> NDArray[np.bool_]:
    """The `wanted` lung voxels that lie nearest to the centre, distances made ragged by smooth noise."""
    axes = [(np.arange(n) - at) * step for n, at, step in zip(lung.shape, centre, spacing, strict=True)]
    distance_mm = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
    grain = [max(0.5, GRAIN_PER_RADIUS * radius_mm / step) for step in spacing]
    ragged = distance_mm + RAGGED * radius_mm * _noise(lung.shape, (grain[0], grain[1], grain[2]), rng)
    ragged[~lung] = np.inf
    lesion = np.zeros(lung.size, bool)
    lesion[np.argpartition(ragged.ravel(), wanted - 1)[:wanted]] = True
    return lesion.reshape(lung.shape)


def _blurred(lesion: NDArray[np.bool_], lung: NDArray[np.bool_], spacing: Vector) -> NDArray[np.float32]:
    """Share of the lesion in each lung voxel, blurred towards the lung but not towards the chest wall."""
    sigma = [BLUR_MM / step for step in spacing]
    blurred, reach = (ndimage.gaussian_filter(mask.astype(np.float32), sigma) for mask in (lesion, lung))
    share = np.where(lung, blurred / np.maximum(reach, np.float32(1e-6)), np.float32(0))
    half = np.float32(0.5)
    kept: NDArray[np.float32] = np.where(lesion, np.maximum(share, half), np.minimum(share, half))
    return kept


def _noise(shape: tuple[int, ...], sigma: Vector, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of unit deviation."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    noise: NDArray[np.float32] = smooth / max(float(smooth.std()), 1e-6)
    return noise
