"""What the CT says of a fissure: a band without vessels, and in it a thin bright sheet.

The lung beside a fissure holds only the ends of vessels, so that the band is seen on thick slices, too, where the
fissure itself is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.segment.lobes.frame import Points, Sheet

Samples = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.uint8)

STEP_MM = 2.5
"""Between columns of samples over a sheet."""
_VESSEL_HU = -750.0
"""Between small vessels and aerated lung, after averaging over about 1.5 mm."""
_AROUND_MM = (6.0, 2.5)
"""Over which vessels are counted: along the sheet and across it."""
_NEIGHBOURHOOD_MM = 10.0
"""Across the sheet: what the count is compared with, as vessels are dense at the hilum and thin at the pleura."""
_FEW, _MOST = 0.02, 2.0
PLATE_REACH_MM = 6.0
_SIDES_MM = (2.5, PLATE_REACH_MM)
"""How far from a sheet, to both sides, the lung is that it must be brighter than."""
_FISSURE_HU = (-1000.0, -650.0)
_BRIGHTEST_HU = 60.0
_SLOPES = (-0.3, 0.0, 0.3)
_WAYS = ((1, 0), (0, 1), (1, 1), (1, -1))
_REACH = 2


@dataclass(frozen=True, slots=True, eq=False)
class CoarseLung:
    """One lung's surroundings on a grid of about 1.5 mm.

    Parameters
    ----------
    hu
        Axes to the head, the back, the left.
    lung
        Bool of the same shape: lung of this side without lesion.
    origin_zyx_mm
        Of the first voxel.
    to_index
        3 x 3: from (z, y, x) in mm to the array's axes.
    """

    hu: NDArray[np.float32]
    lung: NDArray[np.bool_]
    origin_zyx_mm: Points
    to_index: NDArray[np.float64]

    def sampled(self, points_zyx_mm: Points) -> tuple[Samples, NDArray[np.bool_]]:
        """HU, linearly interpolated, and whether it is lung."""
        index = np.moveaxis((points_zyx_mm - self.origin_zyx_mm) @ self.to_index.T, -1, 0)
        hu = ndimage.map_coordinates(self.hu, index, np.float32, order=1, mode="nearest")
        rimmed = np.pad(self.lung, 1)  # what lies beyond the array is in the rim, which is no lung
        nearest = np.zeros(index.shape[1:], np.intp)
        for at, size in zip(index, self.lung.shape, strict=True):
            nearest *= size + 2
            nearest += np.clip(np.rint(at), -1, size).astype(np.intp) + 1
        return hu, rimmed.ravel().take(nearest)


def columns_mm(points: Points, axis: int) -> Points:
    """Coordinates of the columns of samples along one axis of a sheet."""
    first, last = (int(np.floor(end / STEP_MM)) for end in (points[:, axis].min(), points[:, axis].max()))
    found: Points = np.multiply(STEP_MM, np.arange(first, last + 2), dtype=np.float64)
    return found


def around(
    lung: CoarseLung, sheet: Sheet, plane_mm: tuple[Points, Points, Points], offsets_mm: Points
) -> tuple[Samples, NDArray[np.bool_]]:
    """HU around a surface, and which samples are lung: shape (lateral, along, offset).

    Parameters
    ----------
    lung
        Where they are sampled.
    sheet
        Over which the surface is a height field.
    plane_mm
        Lateral, along and height of the surface, each of shape (lateral, along).
    offsets_mm
        Above the surface.
    """
    lateral, along, height = (values[..., None] for values in plane_mm)
    shape = (*plane_mm[0].shape, len(offsets_mm))
    at = np.stack([np.broadcast_to(v, shape) for v in (lateral, along, height + offsets_mm)], axis=-1)
    return lung.sampled(sheet.points(at))


def vessels(hu: Samples, lung: NDArray[np.bool_], across_mm: float) -> Samples:
    """Density of vessels against that of the neighbourhood; 1 where there is no lung.

    Parameters
    ----------
    hu, lung
        From `around`.
    across_mm
        Between offsets.
    """
    counted, inside = ((hu > _VESSEL_HU) & lung).astype(np.float32), lung.astype(np.float32)
    along = _AROUND_MM[0] / STEP_MM
    counted, inside = (_blurred(_blurred(values, along, 0), along, 1) for values in (counted, inside))

    def density(reach_mm: float) -> Samples:
        number, lung_share = (_blurred(values, reach_mm / across_mm, 2) for values in (counted, inside))
        return (number / np.maximum(lung_share, 0.15)).astype(np.float32)

    relative = np.minimum(density(_AROUND_MM[1]) / (density(_NEIGHBOURHOOD_MM) + _FEW), _MOST)
    return np.where(lung, relative, np.float32(1)).astype(np.float32)


def plates(hu: Samples, lung: NDArray[np.bool_], across_mm: float) -> Samples:
    """By how many HU a sample belongs to a bright thin sheet; 0 where that cannot be seen.

    A sample must be brighter than the lung to both of its sides, on the average over a line through it. The least
    of four directions counts, in each of which a sheet may be tilted: a vessel is bright in one direction alone.
    """
    bounded = np.where(lung, np.clip(hu, *_FISSURE_HU), np.float32(0)).astype(np.float32)
    inside = lung.view(np.uint8)  # counted, as `weight` is: a quarter of the memory of a float
    steps = range(*(round(mm / across_mm) + n for n, mm in enumerate(_SIDES_MM)))
    beside, seen = [], lung.copy()
    for way in (1, -1):
        there = [(0, 0, way * n) for n in steps]
        number = _sum_of_moved(inside, there)
        beside.append(_sum_of_moved(bounded, there) / np.maximum(number, 1))
        seen &= number >= 0.6 * len(steps)
    weight = seen.view(np.uint8)
    brighter = (bounded - np.maximum(*beside)).astype(np.float32)
    ridge = np.clip(brighter, -_BRIGHTEST_HU / 3, _BRIGHTEST_HU) * weight
    least: Samples = np.full_like(ridge, np.inf)
    for way_on_sheet in _WAYS:
        steep = (_line_mean(ridge, weight, way_on_sheet, slope * STEP_MM / across_mm) for slope in _SLOPES)
        np.minimum(least, reduce(np.maximum, steep), out=least)
    return (np.maximum(least, 0) * weight).astype(np.float32)


def _blurred(values: Samples, reach: float, axis: int) -> Samples:
    found: Samples = ndimage.gaussian_filter1d(values, reach, axis, mode="constant", truncate=2.0)
    return found


def _line_mean(values: Samples, weight: NDArray[np.uint8], way: tuple[int, int], rise: float) -> Samples:
    steps = [(n * way[0], n * way[1], round(n * rise * float(np.hypot(*way)))) for n in range(-_REACH, _REACH + 1)]
    mean = _sum_of_moved(values, steps) / np.maximum(_sum_of_moved(weight, steps), 2)
    return mean.astype(np.float32, copy=False)


def _sum_of_moved(values: NDArray[Number], steps: Sequence[tuple[int, int, int]]) -> NDArray[Number]:
    """The sum of the values at so many steps from each sample, added in their order; 0 beyond the end."""
    total = np.zeros_like(values)
    for step in steps:
        pairs = list(zip(step, values.shape, strict=True))
        to = tuple(slice(max(0, -s), max(0, size - max(0, s))) for s, size in pairs)
        of = tuple(slice(max(0, s), max(0, size - max(0, -s))) for s, size in pairs)
        total[to] += values[of]
    return total
