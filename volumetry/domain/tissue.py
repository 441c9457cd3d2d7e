"""The tissue of every voxel, what a segmenter knows of its own error, and what a segmenter is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volumetry.domain.grid import Grid
from volumetry.domain.scan import CtScan
from volumetry.domain.voxel_label import VoxelLabel


class Tissue(VoxelLabel):
    """What a voxel is. Labels exclude each other, so volumes add up."""

    OUTSIDE = 0
    AERATED = 1
    GROUND_GLASS = 2
    SOLID = 3
    UNCLASSED = 4
    """Lesion that the HU rule calls neither ground glass nor solid; never there under the network's rule."""


FLUID = 5
"""Pleural fluid in a delivered mask: no tissue of the lung, so none of `Tissue`, and never among its labels."""


class Side(VoxelLabel):
    """The patient's own left and right, from LPS coordinates and never from the array index."""

    NONE = 0
    LEFT = 1
    RIGHT = 2


VOLUMES = ("lung", "aerated", "ground_glass", "solid", "lesion")
"""What is given in mL, of both lungs, of a side and of a zone."""
SHARES = ("lesion", "ground_glass", "solid")
"""What is given as a percentage of the lung."""
CAUSES = (
    "outside_lungs_ml",
    "lesion_outside_lungs_ml",
    "lesion_beside_lungs_ml",
    "holes_filled_ml",
    "lesion_specks_ml",
    "lesion_shallow_ml",
    "class_specks_ml",
)
"""Why tidying takes away, fills in or renames.

A segmenter adds causes of its own: ``lesion_in_organs_ml`` is what the network of the whole chest puts into organs
or the chest wall, ``lesion_in_fluid_ml`` what it takes for pleural fluid; absent where none looked or was heard.
``lesion_beside_lungs_ml`` is the part of the lesion outside the lungs that may be lung: what lies in the upper
three quarters of their height. Below, in front of the recess, is abdomen.
"""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a segmenter knows of its own error on one scan.

    Parameters
    ----------
    points
        By part and share: points of lung by which the share moves when the segmentation is made differently.
    reference
        By share: how far this model's share lies from the true one on the cases it was calibrated on, relative to
        the share.
    floor_points
        No share is known better than this.
    widening
        By share: the factor on the parts' sum that made the interval cover.
    level
        Stated coverage, 0 to 1.
    calibrated
        By what is measured on a scan: lowest and highest value among the scans that it was calibrated on; see
        `quality.aerated_lung`.
    undecided_percent
        Of the lung: where the segmenter decides neither for lesion nor clearly against it.
    undecided_weight
        How many points of lung a share is taken to move for each of them that is no rim of the lesion.
    """

    points: Mapping[str, Mapping[str, float]]
    reference: Mapping[str, float]
    floor_points: float
    widening: Mapping[str, float]
    level: float
    calibrated: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    undecided_percent: float = 0.0
    undecided_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Measurement interval of each share.

    Parameters
    ----------
    percent
        (low, high) by share, in percent of the lung.
    parts
        What the interval is made of: half-widths in percentage points by part and share.
    level
        Stated coverage, 0 to 1.
    """

    percent: Mapping[str, tuple[float, float]]
    parts: Mapping[str, Mapping[str, float]]
    level: float


@dataclass(frozen=True, slots=True)
class ChestContext:
    """What a network of the whole chest says of a map made slice by slice.

    Parameters
    ----------
    agreement
        Of aerated lung, the share that it recognises, 0 to 1.
    lesion_in_organs_ml
        Called lesion slice by slice, and in organs or the chest wall as it sees them; left in where agreement is
        low.
    doubtful_ml
        The part of it that hangs together with disease in lung, or is large enough for a consolidated lobe.
    """

    agreement: float
    lesion_in_organs_ml: float
    doubtful_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class TissueMap:
    """The tissue of every voxel of a grid.

    Parameters
    ----------
    labels_kji
        uint8, shape of `grid`, values of `Tissue`.
    grid
        Where the voxels are.
    side_kji
        uint8, shape of `grid`, values of `Side`, 0 outside the lungs; None before the sides are known.
    dropped_ml
        What segmenter and postprocessing removed or filled in, in mL by cause.
    doubt
        The segmenter's uncertainty; None if it states none.
    context
        What a network of the whole chest says of the map; None if none looked.
    fluid_kji
        Pleural fluid, shape of `grid`, in what is outside; None if nobody looked for it.

    Raises
    ------
    ValueError
        If an array is not uint8 of the shape of `grid`, a label is not one of `Tissue`, or fluid lies in the lung.
    """

    labels_kji: NDArray[np.uint8]
    grid: Grid
    side_kji: NDArray[np.uint8] | None = None
    dropped_ml: Mapping[str, float] = field(default_factory=dict)
    doubt: Doubt | None = None
    context: ChestContext | None = None
    fluid_kji: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for array in (self.labels_kji, self.side_kji):
            if array is not None and (array.shape != self.grid.shape_kji or array.dtype != np.uint8):
                raise ValueError(f"{array.dtype} {array.shape} is not uint8 {self.grid.shape_kji}")
        if self.labels_kji.size and self.labels_kji.max() > max(Tissue):
            raise ValueError(f"label {self.labels_kji.max()} is not a tissue")
        fluid = self.fluid_kji
        if fluid is not None and (fluid.shape != self.grid.shape_kji or fluid.dtype != np.bool_):
            raise ValueError(f"{fluid.dtype} {fluid.shape} is not bool {self.grid.shape_kji}")
        if fluid is not None and any(
            labels[here].any() for labels, here in zip(self.labels_kji, fluid, strict=True) if here.any()
        ):
            raise ValueError("pleural fluid lies in the lung")

    @classmethod
    def of_mask(cls, mask_kji: NDArray[np.uint8], grid: Grid, looked: bool) -> "TissueMap":
        """The map of a delivered mask.

        Parameters
        ----------
        mask_kji
            Values of `Tissue`, and `FLUID`.
        grid
            Where the voxels are.
        looked
            Whether a mask without fluid means that there is none, and not that nobody looked for it.

        Returns
        -------
        TissueMap
            Without sides.
        """
        fluid_kji = mask_kji == FLUID
        if not fluid_kji.any():
            return cls(mask_kji, grid, fluid_kji=fluid_kji if looked else None)
        return cls(np.where(fluid_kji, np.uint8(Tissue.OUTSIDE), mask_kji), grid, fluid_kji=fluid_kji)

    @property
    def mask_kji(self) -> NDArray[np.uint8]:
        """The map as it is delivered: `Tissue`, and `FLUID` where there is pleural fluid."""
        if self.fluid_kji is None or not self.fluid_kji.any():
            return self.labels_kji
        mask_kji = self.labels_kji.copy()
        mask_kji[self.fluid_kji] = FLUID
        return mask_kji

    def mask_planes(self) -> Iterator[NDArray[np.uint8]]:
        """The planes of `mask_kji`, one after the other: of a long scan it is 200 MB more, if there is fluid.

        Yields
        ------
        NDArray[np.uint8]
            Shape (j, i), in the order of k.
        """
        for k, plane in enumerate(self.labels_kji):
            fluid = None if self.fluid_kji is None else self.fluid_kji[k]
            if fluid is None or not fluid.any():
                yield plane
            else:
                yield np.where(fluid, np.uint8(FLUID), plane)

    @property
    def fluid_ml(self) -> float | None:
        """Volume of the fluid; None if nobody looked for it."""
        return None if self.fluid_kji is None else float(np.count_nonzero(self.fluid_kji) * self.grid.voxel_ml)


@dataclass(frozen=True, slots=True)
class SegmenterFacts:
    """Which segmenter made a map, for the record.

    Parameters
    ----------
    name, version
        Of the model.
    sha256
        Of everything that decides its numbers; None without weights.
    device, precision
        On what, and in which arithmetic, it ran.
    lesion_probability
        Operating threshold of a network for lesion, 0 to 1; None without one.
    """

    name: str
    version: str
    sha256: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    lesion_probability: float | None = None


class Segmenter(Protocol):
    """Anything that labels the tissue of every voxel of a scan."""

    @property
    def facts(self) -> SegmenterFacts:
        """Name, weights and device, for the record."""
        ...

    def __call__(self, scan: CtScan, /) -> TissueMap:
        """Label every voxel of `scan` on its own grid; islands and holes are left to postprocessing.

        Parameters
        ----------
        scan
            In HU.

        Returns
        -------
        TissueMap
            Labels, uint8 (k, j, i), on ``scan.grid``.
        """
        ...
