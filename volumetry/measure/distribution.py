"""Where in the lungs the disease lies: near the chest wall or deep, dorsal or ventral.

The outer third of the lung is peripheral and the inner two thirds are central (Table 1 of
https://pmc.ncbi.nlm.nih.gov/articles/PMC7645333/). Depth is the distance, in the axial plane, from the convex
outline around both lungs: the surface towards the mediastinum, where the hila lie, is deep and not peripheral.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from volumetry.domain import PARTS, Distribution, Tissue, TissueMap
from volumetry.image.coarse import block_spacing_mm, sampled, strides
from volumetry.image.orientation import axial_view

_OUTER = 1 / 3
_LEAST_VOXELS = 9


def distribution_of(delivered: TissueMap) -> Distribution | None:
    """Shares of the disease by depth and by height above the back.

    Parameters
    ----------
    delivered
        The map that is counted; looked at in blocks of about 2.5 mm.

    Returns
    -------
    Distribution or None
        None without lung or without disease.
    """
    view = axial_view(delivered.grid)
    labels_zyx = view.of(delivered.labels_kji)
    z, y, x = (delivered.grid.spacing_kji_mm[axis] for axis in view.axes)
    step = strides((z, y, x))
    coarse, (_, y_mm, x_mm) = sampled(labels_zyx, step), block_spacing_mm((z, y, x), step)
    counts = np.zeros((len(PARTS), 2), np.int64)  # of lung and of disease
    for section in coarse:
        if np.count_nonzero(section) < _LEAST_VOXELS:
            continue
        labels = section[_box(section > 0)]
        lung, disease = labels > 0, labels > Tissue.AERATED
        for n, part in enumerate(_parts(lung, (y_mm, x_mm))):
            counts[n] += np.count_nonzero(part), np.count_nonzero(part & disease)
    whole = counts[:2, 1].sum()
    if not whole or not counts[:, 0].all():
        return None
    return Distribution(
        percent_of_lesion={name: 100 * float(counts[n, 1] / whole) for n, name in enumerate(PARTS)},
        percent_of_part={name: 100 * float(counts[n, 1] / counts[n, 0]) for n, name in enumerate(PARTS)},
    )


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of a mask that is not empty; the convex outline around it reaches no further."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _parts(lung: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> tuple[NDArray[np.bool_], ...]:
    """Peripheral, central, dorsal and ventral lung of an axial slice, rows to the back."""
    hull = np.pad(convex_hull_image(lung), 1)
    depth = ndimage.distance_transform_edt(hull, sampling=spacing_mm)[1:-1, 1:-1]
    outer = depth < _OUTER * depth[lung].max()
    rows = np.nonzero(lung.any(axis=1))[0]
    back = (np.arange(len(lung)) > (rows[0] + rows[-1]) / 2)[:, None]
    return lung & outer, lung & ~outer, lung & back, lung & ~back
