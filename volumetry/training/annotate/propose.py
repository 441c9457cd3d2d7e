"""What is proposed to the person who decides: lungs by threshold, and numbered regions of denser lung."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, distance_transform_edt, gaussian_filter, label
from skimage.measure import label as connected_labels
from skimage.morphology import convex_hull_image
from skimage.segmentation import slic

SMOOTHING_MM = 1.0
"""Standard deviation of the Gaussian in the slice: noise goes, and an outline moves by less than that."""
DENSER_HU = -750.0
"""Smoothed HU from which lung is proposed for a look: normal lung lies below, vessels and lesions above."""
REGION_CM2 = 1.5
MIN_REGION_CM2 = 0.15
CLOSED_MM = 5.0
BRIDGE_MM = 5.0
"""Lungs that touch at the midline are joined by less than twice this."""
MAX_HOLE_CM2 = 2.0
"""Larger holes of a lung in a slice may be a dome of the diaphragm; they are left to the person who decides."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """One slice and what is proposed for it; arrays run to the back and to the left.

    Parameters
    ----------
    hu_ji, smooth_ji
        HU as scanned, and smoothed.
    lung_ji
        Proposed lungs, with the vessels that lie in them.
    regions_ji
        Numbers of the regions of denser lung, 0 elsewhere.
    pixel_ji_mm
        Row and column spacing.
    """

    hu_ji: NDArray[np.float32]
    smooth_ji: NDArray[np.float32]
    lung_ji: NDArray[np.bool_]
    regions_ji: NDArray[np.int32]
    pixel_ji_mm: tuple[float, float]


def propose(hu_ji: NDArray[np.float32], air_ji: NDArray[np.bool_], pixel_ji_mm: tuple[float, float]) -> Proposal:
    """Propose the lungs and regions of a slice, from HU alone.

    Parameters
    ----------
    hu_ji
        One axial slice.
    air_ji
        Aerated lung in it by threshold, without airways.
    pixel_ji_mm
        Row and column spacing.

    Returns
    -------
    Proposal
        The lungs are the aerated lung, closed and with its small holes filled; the regions are superpixels of
        what is denser than normal lung within each lung's convex hull.
    """
    smooth = gaussian_filter(hu_ji, [SMOOTHING_MM / step for step in pixel_ji_mm]).astype(np.float32)
    lung = _filled(closed(air_ji, CLOSED_MM, pixel_ji_mm), pixel_ji_mm)
    wanted = hulls(lung, pixel_ji_mm) & (smooth > DENSER_HU)
    return Proposal(hu_ji, smooth, lung, _regions(smooth, wanted, pixel_ji_mm), pixel_ji_mm)


def closed(mask_ji: NDArray[np.bool_], radius_mm: float, pixel_ji_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Morphological closing by a disc."""
    rows, columns = (int(np.ceil(radius_mm / step)) for step in pixel_ji_mm)
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    disc = np.hypot(y * pixel_ji_mm[0], x * pixel_ji_mm[1]) <= radius_mm
    padded = np.pad(mask_ji, ((rows, rows), (columns, columns)))
    found: NDArray[np.bool_] = binary_closing(padded, disc)[rows:-rows, columns:-columns]
    return found


def hulls(lung_ji: NDArray[np.bool_], pixel_ji_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """The convex hull of each of the two lungs, also of lungs that touch each other."""
    cores, count = label(distance_transform_edt(lung_ji, sampling=pixel_ji_mm) > BRIDGE_MM)
    if count == 0:
        return lung_ji.copy()
    sizes = np.bincount(cores.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[: min(2, count)]
    nearest = distance_transform_edt(~np.isin(cores, largest), return_distances=False, return_indices=True)
    owner = np.where(lung_ji, cores[tuple(nearest)], 0)
    found = np.zeros_like(lung_ji)
    for core in largest:
        found |= convex_hull_image(owner == core)
    return found


def _filled(mask_ji: NDArray[np.bool_], pixel_ji_mm: tuple[float, float]) -> NDArray[np.bool_]:
    holes, count = label(binary_fill_holes(mask_ji) & ~mask_ji)
    small = np.bincount(holes.ravel(), minlength=count + 1) * pixel_ji_mm[0] * pixel_ji_mm[1] / 100 <= MAX_HOLE_CM2
    small[0] = False
    found: NDArray[np.bool_] = mask_ji | small[holes]
    return found


def _regions(
    smooth_ji: NDArray[np.float32], wanted_ji: NDArray[np.bool_], pixel_ji_mm: tuple[float, float]
) -> NDArray[np.int32]:
    pixel_cm2 = pixel_ji_mm[0] * pixel_ji_mm[1] / 100
    count = int(np.ceil(np.count_nonzero(wanted_ji) * pixel_cm2 / REGION_CM2))
    numbers = np.zeros(smooth_ji.shape, np.int32)
    if count == 0:
        return numbers
    grey = np.clip((smooth_ji + 1000) / 1100, 0, 1)
    found = slic(grey, n_segments=count, compactness=0.1, mask=wanted_ji, channel_axis=None, start_label=1)
    found = connected_labels(found, background=0, connectivity=1)  # a superpixel in a mask may be in pieces
    sizes = np.bincount(found.ravel())
    kept = [n for n in range(1, len(sizes)) if sizes[n] * pixel_cm2 >= MIN_REGION_CM2]
    for number, old in enumerate(kept, 1):
        numbers[found == old] = number
    return numbers
