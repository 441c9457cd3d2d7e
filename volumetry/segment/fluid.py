"""Pleural fluid: where the network of the whole chest is sure of it, and the CT has the density of fluid."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FLUID_HU = (-20.0, 50.0)
"""Of a median over 3 voxels each way. Effusions have medians of 5 to 33 HU (Diagn Interv Radiol 20:116, 2014), fat
lies lower; collapsed lung has 60 HU and more once contrast was given."""
MIN_FLUID_ML = 10.0
"""Of a body: 80 voxels of a grid of 5 mm. A single voxel of it is no finding."""


def pleural_fluid(
    sure_kji: NDArray[np.bool_], nearby_kji: NDArray[np.bool_], hu_kji: NDArray[np.float32], voxel_ml: float
) -> NDArray[np.bool_]:
    """Bodies of fluid.

    Half of a body has the density of fluid, or none of it is taken: in collapsed lung with contrast noise alone
    brings single voxels down to that density. A median, unlike a mean, keeps the border to the lung where it is.

    Parameters
    ----------
    sure_kji
        Where the network of the chest is sure of fluid.
    nearby_kji
        Lung and a little around it: a body that does not reach it, such as a muscle of the shoulder, is no fluid.
    hu_kji
        The same grid.
    voxel_ml
        Of both.
    """
    found = np.zeros(sure_kji.shape, bool)
    for whole in ndimage.find_objects(sure_kji.view(np.uint8)):  # one box, or none
        box = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in whole)  # medians need neighbours
        found[box] = _bodies(sure_kji[box], nearby_kji[box], hu_kji[box], voxel_ml)
    return found


def _bodies(
    sure_kji: NDArray[np.bool_], nearby_kji: NDArray[np.bool_], hu_kji: NDArray[np.float32], voxel_ml: float
) -> NDArray[np.bool_]:
    found = np.zeros(sure_kji.shape, bool)
    labels, _ = ndimage.label(sure_kji)
    low, high = FLUID_HU
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        around = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in box)
        body = labels[around] == label
        voxels = int(np.count_nonzero(body))
        if voxels * voxel_ml < MIN_FLUID_ML or not nearby_kji[around][body].any():
            continue
        fluid = np.zeros_like(body)
        median = _medians(hu_kji[around], body)
        fluid[body] = (low <= median) & (median <= high)
        if 2 * int(np.count_nonzero(fluid)) >= voxels:
            found[around] |= _large(fluid, voxel_ml)
    return found


def _medians(hu_kji: NDArray[np.float32], body_kji: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Median over 3 voxels each way at the voxels of a body, which fill a small part of their box."""
    padded = np.pad(hu_kji, 1, "symmetric")
    found = []
    for slice_k in range(len(body_kji)):  # of a large effusion all at once, it would be 27 times its HU
        j, i = np.nonzero(body_kji[slice_k])
        around = [padded[slice_k + dk, j + dj, i + di] for dk, dj, di in np.ndindex(3, 3, 3)]
        found.append(np.median(around, axis=0, overwrite_input=True))
    return np.concatenate(found)


def _large(mask_kji: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    """Bodies of a mask that are large enough for a finding."""
    labels, count = ndimage.label(mask_kji)
    enough = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml >= MIN_FLUID_ML
    enough[0] = False
    kept: NDArray[np.bool_] = enough[labels]
    return kept
