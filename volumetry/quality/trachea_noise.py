"""Figures that should not move from scan to scan: air in the trachea, the noise in it, air around the body.

They say nothing of the disease. Charted by scanner and date they show a calibration that drifts, a kernel that was
changed, a dose that was cut. What cannot be measured is absent.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.domain import CtScan, Tissue, TissueMap

_LUMEN_HU = -850.0
"""Half-way between air and dark lung; the tracheal wall is far above."""
_AREA_MM2 = (50.0, 1000.0)
"""Cross-section of an adult trachea, 13 to 27 mm wide (Breatnach 1984), with room for children and cough."""
_WALL_MM = 3.0
"""Left out along the wall, where air and tissue are blurred into each other."""
_LEAST_SLICES = 3
_LEAST_VOXELS = 20


def control_figures(scan: CtScan, tissue: TissueMap) -> dict[str, float]:
    """``outside_air_hu``, ``tracheal_air_hu`` and ``noise_hu``, as far as they can be measured.

    The trachea is searched in the upper half of the lungs of an axial scan: air that is not lung, not open to the
    outside, and lies between the lungs. ``noise_hu`` is the median over slices of the standard deviation in it.

    Parameters
    ----------
    scan
        HU.
    tissue
        The lungs, on the same grid.

    Returns
    -------
    dict[str, float]
        In HU, by name; what cannot be measured is absent.
    """
    figures = {} if scan.air_hu is None else {"outside_air_hu": round(float(scan.air_hu), 1)}
    lumen = list(_lumens(scan, tissue))
    if len(lumen) >= _LEAST_SLICES:
        figures["tracheal_air_hu"] = round(float(np.median([values.mean() for values in lumen])), 1)
        figures["noise_hu"] = round(float(np.median([values.std(ddof=1) for values in lumen])), 2)
    return figures


def _lumens(scan: CtScan, tissue: TissueMap) -> list[NDArray[np.float32]]:
    """HU of the middle of the trachea, slice by slice."""
    direction = np.asarray(scan.grid.direction_lps)
    lung_slices = np.flatnonzero(tissue.labels_kji.any(axis=(1, 2)))
    if lung_slices.size == 0 or abs(direction[0, 2]) < np.cos(np.deg2rad(30)):
        return []
    middle = (int(lung_slices[0]) + int(lung_slices[-1])) // 2
    headward = direction[0, 2] > 0
    upper = range(middle, int(lung_slices[-1]) + 1) if headward else range(int(lung_slices[0]), middle + 1)
    found = (_lumen(scan.hu_kji[k], tissue.labels_kji[k], scan.grid.spacing_kji_mm) for k in upper)
    return [values for values in found if values is not None]


def _lumen(
    hu_ji: NDArray[np.float32], labels_ji: NDArray[np.uint8], spacing_kji_mm: tuple[float, float, float]
) -> NDArray[np.float32] | None:
    lung_columns = np.flatnonzero((labels_ji != Tissue.OUTSIDE).any(axis=0))
    if lung_columns.size == 0:
        return None
    _, dj, di = spacing_kji_mm
    regions, count = ndimage.label((hu_ji < _LUMEN_HU) & (labels_ji == Tissue.OUTSIDE))
    if count == 0:
        return None
    areas = np.bincount(regions.ravel(), minlength=count + 1) * dj * di
    border = set(np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])))
    left, right = np.quantile(lung_columns, (0.25, 0.75))
    fitting = [n for n in range(1, count + 1) if n not in border and _AREA_MM2[0] <= areas[n] <= _AREA_MM2[1]]
    boxes = ndimage.find_objects(regions) if fitting else []
    central = [n for n in fitting if left < _middle_column(regions, n, boxes[n - 1]) < right]
    if len(central) != 1:  # none, or the main bronchi: no trachea in this slice
        return None
    box = boxes[central[0] - 1]
    lumen = np.pad(regions[box] == central[0], 1)
    inside = ndimage.distance_transform_edt(lumen, (dj, di))[1:-1, 1:-1] > _WALL_MM
    values: NDArray[np.float32] = hu_ji[box][inside]
    return values if values.size >= _LEAST_VOXELS else None


def _middle_column(regions: NDArray[np.int32], number: int, box: tuple[slice, slice]) -> float:
    """Column of the centre of a region."""
    return float(box[1].start + np.nonzero(regions[box] == number)[1].mean())
