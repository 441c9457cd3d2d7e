"""An interval for each share, from named parts; how wide, the model's calibration says.

Parts are in points (percent of lung). They are taken as independent and added in quadrature, and the sum is
widened by a factor that made the interval cover its stated level on cases that calibrated it (split conformal
prediction: Vovk et al. 2005; Lei et al. 2018, JASA 113:1094). It speaks of this model on data like those cases,
not of a scan that is unlike all of them.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from volumetry.config import IntervalSettings, Measure
from volumetry.domain import SHARES, CtScan, Doubt, Interval, Tissue, TissueMap, Vector, Volumes
from volumetry.image.components import bounding_box
from volumetry.measure.components import component_splits

LIMITS = (0.0, 100.0)
UNDECIDED_RIM_MM = 1.4
"""One pixel of the network: around a lesion lies so much lung in which the probability falls to nothing. It is
taken off along the whole outline, also where that borders the chest wall and not lung."""
FLOOR = "floor"
"""The part that every scan has: no share is known better."""
STAIRCASE = 2 / 3
"""Faces of voxels overstate a smooth surface of no preferred direction by 3/2: the mean of |x| + |y| + |z| over
unit normals."""


def with_interval(
    tissue: TissueMap,
    scan: CtScan,
    delivered: TissueMap,
    volumes: Volumes,
    rule: Measure,
    settings: IntervalSettings,
) -> Interval | None:
    """The interval of each share of a scan.

    Parameters
    ----------
    tissue, delivered
        The network's classes and the classes by the chosen rule, postprocessed.
    scan
        HU on the same grid.
    volumes
        Of `delivered`.
    rule
        Component rule and HU cuts.
    settings
        By how much threshold, HU and outline are moved.

    Returns
    -------
    Interval or None
        None if the segmenter states no uncertainty or there is no lung.
    """
    doubt = tissue.doubt
    if doubt is None or not volumes.lung:
        return None
    percent = volumes.percent_of_lung()
    parts = {part: dict(points) for part, points in doubt.points.items()}
    if rule.component_rule == "hu":
        parts = _by_hu(parts, tissue, scan, volumes, rule, settings)
    per_mm = boundary_points(delivered, volumes.lung, 1.0)
    parts["boundary"] = {name: points * settings.boundary_mm for name, points in per_mm.items()}
    if doubt.undecided_weight:
        rim = per_mm["lesion"] * UNDECIDED_RIM_MM
        parts["undecided"] = undecided_points(doubt.undecided_percent, rim, doubt.undecided_weight)
    return interval_of(percent, parts, doubt)


def undecided_points(undecided_percent: float, rim_percent: float, weight: float) -> dict[str, float]:
    """Points by which each share may move for lung in which nothing is decided.

    What is faint there is ground glass if it is disease; no solid.

    Parameters
    ----------
    undecided_percent
        Of the lung.
    rim_percent
        Of the lung: what the rims of the lesion account for.
    weight
        Points of the share for each point that is left.

    Returns
    -------
    dict[str, float]
        Percentage points by share.
    """
    points = weight * max(0.0, undecided_percent - rim_percent)
    return {"lesion": points, "ground_glass": points, "solid": 0.0}


def interval_of(percent: Mapping[str, float], parts: Mapping[str, Mapping[str, float]], doubt: Doubt) -> Interval:
    """Shares, what moves them, and the model's calibration as limits."""
    stated = {part: dict(points) for part, points in parts.items()}
    stated[FLOOR] = dict.fromkeys(SHARES, doubt.floor_points)
    stated["reference"] = {name: doubt.reference[name] * percent[name] for name in SHARES}
    limits = {}
    for name in SHARES:
        half = doubt.widening[name] * math.hypot(*(stated[part][name] for part in stated))
        low, high = percent[name] - half, percent[name] + half
        limits[name] = (max(LIMITS[0], low), min(LIMITS[1], high))
    return Interval(limits, stated, doubt.level)


def boundary_points(delivered: TissueMap, lung_ml: float, shift_mm: float) -> dict[str, float]:
    """Points by which each share moves when the outline of its tissue moves by `shift_mm`: area times shift.

    Parameters
    ----------
    delivered
        The delivered map.
    lung_ml
        The denominator of the shares, in mL.
    shift_mm
        By how far the outline moves.

    Returns
    -------
    dict[str, float]
        Percentage points by share.

    Examples
    --------
    >>> from volumetry.domain import Grid
    >>> ball = sum((np.indices((60,) * 3) - 29.5) ** 2) < 20**2
    >>> labels = np.where(ball, np.uint8(Tissue.SOLID), np.uint8(Tissue.AERATED))
    >>> found = boundary_points(TissueMap(labels, Grid((60,) * 3, (1.0, 1.0, 1.0))), 100.0, 0.5)
    >>> round(found["solid"] / (4 * math.pi * 20**2 * 0.5 / 1000), 1)  # per 100 mL, points are mL
    1.0
    """
    labels = delivered.labels_kji
    points = dict.fromkeys(SHARES, 0.0)
    lungs = bounding_box(labels, margin=1)
    if lungs is None:
        return points
    lesion = bounding_box(labels[lungs] > Tissue.AERATED, margin=1)
    if lesion is None:
        return points
    around = labels[lungs][lesion]
    masks = {
        "lesion": around > Tissue.AERATED,
        "ground_glass": around == Tissue.GROUND_GLASS,
        "solid": around == Tissue.SOLID,
    }
    for name, mask in masks.items():
        area_mm2 = STAIRCASE * _face_area_mm2(mask, delivered.grid.spacing_kji_mm)
        points[name] = 100 * area_mm2 * shift_mm / 1000 / lung_ml
    return points


def _face_area_mm2(mask: NDArray[np.bool_], spacing_kji_mm: Vector) -> float:
    k, j, i = spacing_kji_mm
    area_mm2 = 0.0
    for axis, face_mm2 in enumerate((j * i, k * i, k * j)):
        along = np.moveaxis(mask, axis, 0)
        area_mm2 += face_mm2 * int(np.count_nonzero(along[1:] != along[:-1]))
    return area_mm2


def _by_hu(
    parts: Mapping[str, Mapping[str, float]],
    tissue: TissueMap,
    scan: CtScan,
    volumes: Volumes,
    rule: Measure,
    settings: IntervalSettings,
) -> dict[str, dict[str, float]]:
    """Under the HU rule the classes follow the lesion, and an offset of the HU moves the cuts between them."""
    percent = volumes.percent_of_lung()
    moved = {}
    for sign in (-1, 1):
        low, middle, high = (cut + sign * settings.hu_offset for cut in rule.hu_cuts)
        split = component_splits(tissue, scan, rule.model_copy(update={"hu_cuts": (low, middle, high)}))["hu"]
        moved[sign] = {"ground_glass": split.ground_glass_ml, "solid": split.solid_ml}
    found = {}
    for part, points in parts.items():
        share = points["lesion"] / percent["lesion"] if percent["lesion"] else 0.0
        found[part] = {"lesion": points["lesion"]} | {
            name: share * percent[name] for name in ("ground_glass", "solid")
        }
        if part == "hu_offset":
            for name in ("ground_glass", "solid"):
                cuts = 50 * abs(moved[1][name] - moved[-1][name]) / volumes.lung
                found[part][name] = math.hypot(found[part][name], cuts)
    return found
