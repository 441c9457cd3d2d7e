"""One fissure of one lung: from the mean one to where the CT shows it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.segment.lobes.evidence import (
    PLATE_REACH_MM,
    STEP_MM,
    CoarseLung,
    around,
    columns_mm,
    plates,
    vessels,
)
from volumetry.segment.lobes.frame import Points, Sheet
from volumetry.segment.lobes.prior import MeanFissure
from volumetry.segment.lobes.surface import beliefs, low_order, moments, smoothed

Plane = tuple[Points, Points, Points]
"""Lateral, along and height of a surface over its sheet, in mm."""


@dataclass(frozen=True, slots=True)
class _Search:
    """How a fissure is looked for around a surface.

    Parameters
    ----------
    reach_mm, step_mm
        How far from the surface, and in which steps.
    far_off
        How much a distance of `_FAR_OFF_MM` counts against it.
    bright_per_hu
        How much a HU of a bright sheet counts for it.
    walk_mm
        Standard deviation of the step of its height from one column to the next.
    """

    reach_mm: float
    step_mm: float
    far_off: float
    bright_per_hu: float
    walk_mm: float


_BAND = _Search(35.0, 1.5, far_off=0.025, bright_per_hu=0.03, walk_mm=0.6)
_SHEET = _Search(10.0, 0.75, far_off=0.0, bright_per_hu=0.1, walk_mm=0.8)
_FAR_OFF_MM = 10.0
_VESSEL_WEIGHT = 0.8
_BRIGHT_NOISE_HU = 12.0
_ROUNDS = 2
"""Of the narrow search: the second begins where the first ended, so that a steep part is reached."""
FOLLOWED_DOUBT_MM = 8.0
"""Of a fissure that was followed. Nine tenths of two labelled fissures of LIDC-IDRI-0001 lay within 8 mm, of the
right oblique one within 13."""
MEAN_DOUBT_MM = 20.0
"""Of a fissure that was not: the mean one lay 7 to 19 mm from those labels on the average."""
LEAST_CONTRAST = 0.3
"""By how much fewer vessels the band must hold than the lung beside it. It was 0.34 to 0.65 where a fissure was
seen to be followed, and 0.25 in a lung where the band was another one."""
LEAST_BRIGHT, _BRIGHT_HU = 0.2, 15.0
"""Or the share of it that is a sheet so much brighter than its sides; vessels are up to 0.17 of any surface."""
_BESIDE_MM = (8.0, 12.0)
_OTHER_START_MM, _SAME_MM = 13.0, 6.0
"""A search that begins so far above or below the mean fissure must find a band as near to the first. Where the
first search had followed a wrong band, the others ended 17 mm away or more; where it was right, up to 3 mm."""
_ON_IT_MM = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Fissure:
    """A height field over a sheet.

    Parameters
    ----------
    sheet
        The plane below it.
    lateral_mm, along_mm
        Of the columns.
    height_mm
        Shape (lateral, along).
    contrast
        How much fewer vessels it holds than the lung 8 to 12 mm away: 0 for as many, 1 for none.
    bright
        Share of it that is seen as a bright sheet.
    followed
        Whether the CT shows it, and a search from elsewhere ends on it, too.
    """

    sheet: Sheet
    lateral_mm: Points
    along_mm: Points
    height_mm: Points
    contrast: float = 0.0
    bright: float = 0.0
    followed: bool = False

    @property
    def doubt_mm(self) -> float:
        """By how much it may lie elsewhere."""
        return FOLLOWED_DOUBT_MM if self.followed else MEAN_DOUBT_MM

    def above_mm(self, points_zyx_mm: Points) -> NDArray[np.float64]:
        """How far above the fissure points lie, at a right angle to its sheet."""
        at = self.sheet.coordinates(points_zyx_mm)
        index = [(at[..., n] - axis[0]) / STEP_MM for n, axis in enumerate((self.lateral_mm, self.along_mm))]
        height = ndimage.map_coordinates(self.height_mm, index, np.float64, order=1, mode="nearest")
        above: NDArray[np.float64] = at[..., 2] - height
        return above


def find_fissure(mean: MeanFissure, lung: CoarseLung, divided_zyx_mm: Points, *, follow: bool) -> Fissure:
    """A fissure of a lung: where the CT shows it, or else the mean one.

    Parameters
    ----------
    mean
        Where it lies on the average.
    lung
        The CT.
    divided_zyx_mm
        A sample of the points of the lung that it divides.
    follow
        Whether it is looked for in the CT.
    """
    sheet = mean.sheet
    over = sheet.coordinates(divided_zyx_mm)
    lateral, along = (columns_mm(over, axis) for axis in (0, 1))
    height = mean.heights_mm(lateral, along)
    if not follow:
        return Fissure(sheet, lateral, along, height)
    across, on = np.meshgrid(lateral, along, indexing="ij")

    band = _towards_band(lung, sheet, (across, on, height))
    found = Fissure(sheet, lateral, along, _onto_fissure(lung, sheet, (across, on, band)))
    contrast, bright = _shown(lung, sheet, (across, on, found.height_mm))
    shown = contrast >= LEAST_CONTRAST or bright >= LEAST_BRIGHT
    on_it = divided_zyx_mm[np.abs(found.above_mm(divided_zyx_mm)) < _ON_IT_MM]
    others = (_towards_band(lung, sheet, (across, on, height + way * _OTHER_START_MM)) for way in (1, -1))
    followed = shown and any(
        np.abs(
            replace(found, height_mm=band).above_mm(on_it) - replace(found, height_mm=other).above_mm(on_it)
        ).mean()
        < _SAME_MM
        for other in others
    )
    kept = found.height_mm if followed else height
    return replace(found, height_mm=kept, contrast=contrast, bright=bright, followed=followed)


def _shown(lung: CoarseLung, sheet: Sheet, plane_mm: Plane) -> tuple[float, float]:
    """How much fewer vessels a surface holds than what is beside it, and its share that is a bright sheet."""
    reach = np.arange(-24.0, 24.5)
    hu, inside = around(lung, sheet, plane_mm, reach)
    density = vessels(hu, inside, 1.0)
    beside = (np.abs(reach) >= _BESIDE_MM[0]) & (np.abs(reach) <= _BESIDE_MM[1])
    middle = int(np.flatnonzero(reach == 0)[0])
    through = inside[..., middle]
    off = density[..., beside][inside[..., beside]]
    if not through.any() or not off.sum() > 0:
        return 0.0, 0.0
    near = slice(middle - round(PLATE_REACH_MM) - 1, middle + round(PLATE_REACH_MM) + 2)
    sheets = plates(hu[..., near], inside[..., near], 1.0)
    middle -= near.start
    bright = sheets[..., middle - 1 : middle + 2].max(axis=-1)[through] > _BRIGHT_HU
    contrast = 1 - density[..., reach == 0][through].mean(dtype=np.float64) / off.mean(dtype=np.float64)
    return float(contrast), float(bright.mean())


def _towards_band(lung: CoarseLung, sheet: Sheet, plane_mm: Plane) -> Points:
    """The mean fissure bent by a quadratic into the band without vessels."""
    shift, sd, share = _followed(lung, sheet, plane_mm, _BAND)
    return plane_mm[2] + low_order(shift, share / (sd**2 + 4), held=0.01)


def _onto_fissure(lung: CoarseLung, sheet: Sheet, plane_mm: Plane) -> Points:
    """A smooth surface near a bent one."""
    lateral, along, height = plane_mm
    for _ in range(_ROUNDS):
        shift, sd, share = _followed(lung, sheet, (lateral, along, height), _SHEET)
        height = height + smoothed(shift, share / (sd**2 + 1), STEP_MM)
    return height


def _followed(lung: CoarseLung, sheet: Sheet, plane_mm: Plane, search: _Search) -> tuple[Points, Points, Points]:
    """Mean and standard deviation of the shift of every column, and the share of its samples that are lung."""
    step, beyond = search.step_mm, round(PLATE_REACH_MM / search.step_mm)
    number = round(search.reach_mm / step) + beyond
    offsets: Points = np.multiply(step, np.arange(-number, number + 1), dtype=np.float64)
    hu, inside = around(lung, sheet, plane_mm, offsets)
    wanted = slice(beyond, len(offsets) - beyond)
    evidence = -_VESSEL_WEIGHT * vessels(hu, inside, step)
    evidence += np.float32(search.bright_per_hu) * np.maximum(plates(hu, inside, step) - _BRIGHT_NOISE_HU, 0)
    far_off = (search.far_off * (offsets[wanted] / _FAR_OFF_MM) ** 2).astype(np.float32)
    shift, sd = moments(beliefs(evidence[..., wanted] - far_off, search.walk_mm / step), offsets[wanted])
    return shift, sd, inside[..., wanted].mean(axis=-1)
