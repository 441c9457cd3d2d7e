"""What the coarse look would take from the fine one's lesions: mL that lie outside of lung, and what they lie in.

In a chest without disease all of it is gain. In a diseased one a reader must look: what is consolidation and lies
outside is loss.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from volumetry.domain import CtScan, Tissue
from volumetry.segment.thorax import Region, coarse_hu, lung_within_a_voxel, native_regions, region_probabilities

LESION = (Tissue.GROUND_GLASS, Tissue.SOLID)


@dataclass(frozen=True, slots=True)
class Outside:
    """A tissue map, and what of it lies further than one coarse voxel outside of lung.

    Parameters
    ----------
    ml, outside_ml
        By tissue.
    lesion_by_region_ml
        In what region the lesions lie that are outside.
    """

    ml: dict[str, float]
    outside_ml: dict[str, float]
    lesion_by_region_ml: dict[str, float]


def outside_of_lung(
    scan: CtScan, labels_kji: NDArray[np.uint8], network: nn.Module, coarse_mm: float, stride: int
) -> Outside:
    """How much of a segmentation of `scan` the coarse network puts outside of lung.

    Parameters
    ----------
    labels_kji
        Values of `Tissue` on the scan's grid.
    """
    probabilities = region_probabilities(network, coarse_hu(scan, coarse_mm), stride)
    outside = ~lung_within_a_voxel(scan, probabilities)
    regions = native_regions(scan, probabilities)
    kinds = {tissue.name.lower(): labels_kji == tissue for tissue in (Tissue.AERATED, *LESION)}
    lesion_outside = np.isin(labels_kji, LESION) & outside

    def ml(mask: NDArray[np.bool_]) -> float:
        return float(np.count_nonzero(mask) * scan.grid.voxel_ml)

    return Outside(
        {name: ml(kind) for name, kind in kinds.items()},
        {name: ml(kind & outside) for name, kind in kinds.items()},
        {region.name.lower(): ml(lesion_outside & (regions == region)) for region in Region},
    )
