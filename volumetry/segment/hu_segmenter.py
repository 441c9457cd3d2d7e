"""A segmenter without a network: HU alone.

It is right on phantoms, whose HU are known, and there it proves everything but the network: geometry, resampling,
tidying, counting. It is not a segmenter for patients.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import CtScan, SegmenterFacts, Tissue, TissueMap, Vector
from volumetry.image.components import Mask, bodies_of, bounding_box
from volumetry.image.morphology import distance_to_outside_mm, filled_holes

_LARGE = 0.1
"""Share of the largest component of air below which another is not lung."""


@dataclass(frozen=True, slots=True)
class ThresholdSegmenter:
    """Label by HU: edges lie half-way between the two tissues that meet there.

    Parameters
    ----------
    aerated_hu, ground_glass_hu, solid_hu
        Mean HU of the three tissues of a phantom.
    shell_mm
        A blurred edge between aerated lung and solid passes through the HU of ground glass. What is thinner than
        twice this is such an edge, or a vessel, and not a lesion.
    core_mm
        A lesion is somewhere at least this deep; vessels, and bundles of them at the hilum, are not.
    gas_hu
        Air of airways, stomach and room; what is half-way to it from aerated lung is not lung.
    closing_mm
        Vessels that enter the lung from its border are closed over up to twice this width.
    """

    aerated_hu: float = -850.0
    ground_glass_hu: float = -600.0
    solid_hu: float = 40.0
    shell_mm: float = 1.6
    core_mm: float = 6.5
    gas_hu: float = -1000.0
    closing_mm: float = 4.0

    @property
    def facts(self) -> SegmenterFacts:
        """Name and settings, for the record."""
        return SegmenterFacts(name="threshold", version="1")

    def __call__(self, scan: CtScan, /) -> TissueMap:
        """Label every voxel of `scan`; gas that is not lung is left for postprocessing to remove.

        Parameters
        ----------
        scan
            In HU.

        Returns
        -------
        TissueMap
            Labels, uint8 (k, j, i), on ``scan.grid``; without sides.
        """
        labels = np.zeros(scan.grid.shape_kji, np.uint8)
        air = _enclosed_air(scan.hu_kji < self._half(self.aerated_hu, self.solid_hu))
        air &= ~self._airway(air, scan)
        air = _large(air)
        reach = _voxels(max(self.closing_mm, self.shell_mm), scan.grid.spacing_kji_mm) + 2
        box = bounding_box(air, margin=reach)
        if box is not None:
            hu, spacing = scan.hu_kji[box], scan.grid.spacing_kji_mm
            lung = _closed(air[box], spacing, self.closing_mm)
            lung |= filled_holes(lung, math.inf)
            solid = lung & self._bulk(lung & (hu >= self._half(self.aerated_hu, self.solid_hu)), spacing)
            haze = lung & ~solid & (hu >= self._half(self.aerated_hu, self.ground_glass_hu))
            ground_glass = self._bulk(haze & (hu < self._half(self.ground_glass_hu, self.solid_hu)), spacing)
            view = labels[box]
            view[lung] = Tissue.AERATED
            view[ground_glass] = Tissue.GROUND_GLASS
            view[solid] = Tissue.SOLID
        if scan.no_data_kji is not None:
            labels[scan.no_data_kji] = Tissue.OUTSIDE
        return TissueMap(labels, scan.grid)

    def _airway(self, air: Mask, scan: CtScan) -> Mask:
        """Gas inside the body with its blurred edge: trachea and main bronchi, which open into the lungs."""
        airway = np.zeros_like(air)
        box = bounding_box(air)
        if box is not None:
            spacing = scan.grid.spacing_kji_mm
            gas = air[box] & (scan.hu_kji[box] < self._half(self.gas_hu, self.aerated_hu))
            bulk = self._opened(gas, spacing)
            if bulk.any():
                airway[box] = distance_to_outside_mm(~bulk, spacing) <= self.shell_mm
        return airway

    @staticmethod
    def _half(first_hu: float, second_hu: float) -> float:
        return (first_hu + second_hu) / 2

    def _bulk(self, mask: Mask, spacing_kji_mm: Vector) -> Mask:
        """What remains of a mask without thin shells and tubes."""
        opened = self._opened(mask, spacing_kji_mm)
        found = bodies_of(opened)
        depth = distance_to_outside_mm(mask, spacing_kji_mm)
        deep = np.unique(found.labels_kji[(depth > self.core_mm)[found.box]])
        kept = np.zeros_like(mask)
        kept[found.box] = np.isin(found.labels_kji, deep[deep > 0])
        return kept

    def _opened(self, mask: Mask, spacing_kji_mm: Vector) -> Mask:
        eroded = distance_to_outside_mm(mask, spacing_kji_mm) > self.shell_mm
        if not eroded.any():
            return eroded
        opened: NDArray[np.bool_] = distance_to_outside_mm(~eroded, spacing_kji_mm) <= self.shell_mm
        return opened


def _enclosed_air(air: Mask) -> Mask:
    """Air that does not reach the sides of the image: not the room around the patient."""
    found = bodies_of(air, corners=False)
    whole = np.zeros(air.shape, np.int32)
    whole[found.box] = found.labels_kji
    room = np.zeros(len(found.sizes) + 1, bool)
    for border in (whole[:, 0], whole[:, -1], whole[:, :, 0], whole[:, :, -1]):
        room[border] = True
    room[0] = True
    return ~room[whole]


def _large(air: Mask) -> Mask:
    """Bodies of a size to be a lung; closing would join the others to the lungs."""
    found = bodies_of(air, corners=False)
    large = np.zeros_like(air)
    if len(found.sizes):
        count = found.at_least(_LARGE * float(found.sizes[0]))
        large[found.box] = (found.labels_kji > 0) & (found.labels_kji <= count)
    return large


def _closed(mask: Mask, spacing_kji_mm: Vector, radius_mm: float) -> Mask:
    """Morphological closing by exact distances, so that it means the same at every spacing."""
    near = distance_to_outside_mm(~mask, spacing_kji_mm) <= radius_mm
    closed: NDArray[np.bool_] = mask | (distance_to_outside_mm(near, spacing_kji_mm) > radius_mm)
    return closed


def _voxels(length_mm: float, spacing_kji_mm: Vector) -> int:
    return math.ceil(length_mm / min(spacing_kji_mm))
