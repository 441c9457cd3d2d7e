"""Who segments a phantom: an observer that knows where to look, and draws each border half-way.

A threshold for the whole image cannot distinguish a small lesion from a vessel, nor the blurred edge of lung from
ground glass: that is the task of the network, which phantoms do not test. So this one is given the lung, and where
the lesions are to within a margin; how large they are it sees in the HU alone.
"""

from dataclasses import dataclass

import numpy as np

from volumetry.domain import CtScan, SegmenterFacts, Tissue, TissueMap
from volumetry.phantom import Lesion, PhantomSpec, truth_map

_AERATED_HU = -850.0
_LESION_HU = {"ground_glass": -600.0, "solid": 40.0}
_LABEL = {"ground_glass": Tissue.GROUND_GLASS, "solid": Tissue.SOLID}


@dataclass(frozen=True, slots=True)
class Observer:
    """Label the scan of a phantom.

    Parameters
    ----------
    spec
        The phantom, without vessels.
    margin_mm
        How much larger than its lesion the region is in which it is looked for: more than blur and a voxel reach.
    """

    spec: PhantomSpec
    margin_mm: float = 6.0

    @property
    def facts(self) -> SegmenterFacts:
        """Name, for the record."""
        return SegmenterFacts(name="phantom-observer", version="1")

    def __call__(self, scan: CtScan, /) -> TissueMap:
        """Lung from the phantom's formula; inside each region, what is beyond half-way from lung to lesion."""
        lung = truth_map(self.spec).labels_kji != Tissue.OUTSIDE
        labels = np.where(lung, np.uint8(Tissue.AERATED), np.uint8(Tissue.OUTSIDE))
        for lesion in self.spec.lesions:
            box, near = self._region(lesion, scan)
            border_hu = (_AERATED_HU + _LESION_HU[lesion.kind]) / 2
            labels[box][near & lung[box] & (scan.hu_kji[box] > border_hu)] = _LABEL[lesion.kind]
        return TissueMap(labels, scan.grid)

    def _region(self, lesion: Lesion, scan: CtScan) -> tuple[tuple[slice, ...], np.ndarray]:
        """Box of voxels around a lesion, and which of them lie within the margin."""
        grid, radii = scan.grid, np.asarray(lesion.radii_mm) + self.margin_mm
        index_of = np.linalg.inv(grid.step_lps_mm)
        centre = index_of @ (np.asarray(lesion.centre_lps_mm) - np.asarray(grid.origin_lps_mm))
        reach = np.abs(index_of) @ radii + 1
        low = np.maximum(np.floor(centre - reach), 0).astype(int)
        high = np.minimum(np.ceil(centre + reach) + 1, grid.shape_kji).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        index = np.stack(
            np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1
        )
        off = (grid.lps_mm(index) - np.asarray(lesion.centre_lps_mm)) / radii
        return box, (off**2).sum(-1) < 1
