"""Decisions into labels."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as connected
from skimage.draw import polygon2mask

from volumetry.training.annotate.plan import Decision, Label, Point
from volumetry.training.annotate.propose import Proposal, closed

SPECK_MM2 = 15.0
"""Smaller islands and holes of a stroke that is limited by HU are noise or vessels."""
JOINED_MM = 1.5


def painted(proposal: Proposal, strokes: Iterable[Decision]) -> NDArray[np.uint8]:
    """The labels of a slice: the proposed lung without a lesion, then every stroke in turn.

    Parameters
    ----------
    proposal
        Of the slice.
    strokes
        The decisions about it.

    Returns
    -------
    NDArray[np.uint8]
        (to the back, to the left), values of `Label`.
    """
    labels = np.where(proposal.lung_ji, int(Label.LUNG), int(Label.OUTSIDE)).astype(np.uint8)
    for stroke in strokes:
        value = Label[stroke.label.upper()]
        area = _place(proposal, stroke)
        if not stroke.anywhere:
            area &= labels != Label.OUTSIDE
        low, high = stroke.hu
        kept = area & (proposal.smooth_ji >= low) & (proposal.smooth_ji <= high)
        if not np.array_equal(kept, area):
            kept = _without_specks(kept, proposal.pixel_ji_mm) & area
        labels[kept] = int(value)
    return labels


def inside(
    polygon_mm: Iterable[Point], shape_ji: tuple[int, int], pixel_ji_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """The pixels of a slice whose centre lies in a polygon of (x, y) in mm."""
    corners = [(y / pixel_ji_mm[0], x / pixel_ji_mm[1]) for x, y in polygon_mm]
    found: NDArray[np.bool_] = polygon2mask(shape_ji, corners)
    return found


def _place(proposal: Proposal, stroke: Decision) -> NDArray[np.bool_]:
    if stroke.regions:
        return np.isin(proposal.regions_ji, stroke.regions)
    rows, columns = proposal.hu_ji.shape
    return inside(stroke.polygon_mm, (rows, columns), proposal.pixel_ji_mm)


def _without_specks(mask_ji: NDArray[np.bool_], pixel_ji_mm: tuple[float, float]) -> NDArray[np.bool_]:
    smallest = SPECK_MM2 / (pixel_ji_mm[0] * pixel_ji_mm[1])
    kept = _large(closed(mask_ji, JOINED_MM, pixel_ji_mm), smallest)
    return ~_large(~kept, smallest)


def _large(mask_ji: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    parts, count = connected(mask_ji)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    keep = sizes >= pixels
    keep[0] = False
    found: NDArray[np.bool_] = keep[parts]
    return found
