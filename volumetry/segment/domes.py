"""The rim of the diaphragm that a network takes for a flat lesion.

Where the lung's base lies on a dome of the diaphragm, slices are half lung and half muscle, and look like ground
glass or consolidation. Such a rim is a plate: as high as a slice or two, many times as wide, and with soft tissue
right below all of it. Disease is no such plate; on the scans at hand no lesion away from the domes rests on soft
tissue with more than half of its footprint, and all plates do with nine tenths.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Tidy
from volumetry.domain import CtScan, Tissue
from volumetry.segment.bodies import Mask, bodies_of
from volumetry.segment.grid import axial_view

_SOFT_HU = -300.0
"""From here on it is soft tissue, not lung."""
_BELOW_MM = 2.0


@dataclass(frozen=True, slots=True)
class _Plate:
    height_mm: float
    width_mm: float
    resting: float

    def lies_on_a_dome(self, settings: Tidy) -> bool:
        return (
            self.height_mm <= settings.dome_height_mm
            and self.width_mm >= settings.dome_flatness * self.height_mm
            and self.resting >= settings.dome_rest_share
        )


def plates_on_domes(labels_kji: NDArray[np.uint8], scan: CtScan, settings: Tidy) -> Mask:
    """Lesions that are flat and rest on soft tissue outside the lungs.

    Parameters
    ----------
    labels_kji
        Values of `Tissue`, on the scan's grid.

    Returns
    -------
    Mask
        True in the whole of each such lesion.
    """
    view = axial_view(scan.grid)
    labels, hu = view.of(labels_kji), view.of(scan.hu_kji)
    spacing = [scan.grid.spacing_kji_mm[axis] for axis in view.axes]
    found = bodies_of(labels > Tissue.AERATED)
    count = found.at_least(settings.min_lesion_island_mm3 / 1000 / scan.grid.voxel_ml)
    plates = np.zeros(len(found.sizes) + 1, bool)
    mask = np.zeros(scan.grid.shape_kji, bool)
    if not count:
        return mask
    start = [part.start for part in found.box]
    for label, box in enumerate(ndimage.find_objects(found.labels_kji, max_label=count), start=1):
        body = found.labels_kji[box] == label
        columns = body.any(axis=0)
        j, i = np.nonzero(columns)
        lowest = body.argmax(axis=0)[j, i] + box[0].start + start[0]
        below = np.maximum(lowest - max(1, round(_BELOW_MM / spacing[0])), 0)
        under = (below, j + box[1].start + start[1], i + box[2].start + start[2])
        plates[label] = _Plate(
            height_mm=float(found.sizes[label - 1] * spacing[0] / len(j)),
            width_mm=float(np.sqrt(len(j) * spacing[1] * spacing[2])),
            resting=float(np.mean((labels[under] == Tissue.OUTSIDE) & (hu[under] > _SOFT_HU))),
        ).lies_on_a_dome(settings)
    view.of(mask)[found.box] = plates[found.labels_kji]
    return mask
