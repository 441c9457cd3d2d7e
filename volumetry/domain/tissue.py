"""The tissue of every voxel, what a segmenter knows of its own error, and what a segmenter is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volumetry.domain.grid import Grid
from volumetry.domain.scan import CtScan


class Tissue(IntEnum):
    """What a voxel is. Labels exclude each other, so volumes add up."""

    OUTSIDE = 0
    AERATED = 1
    GROUND_GLASS = 2
    SOLID = 3
    UNCLASSED = 4
    """Lesion that the HU rule calls neither ground glass nor solid; never there under the network's rule."""


class Side(IntEnum):
    """The patient's own left and right, told from LPS coordinates and never from the array index."""

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
    "class_specks_ml",
)
"""Why tidying takes away, fills in or renames. ``lesion_beside_lungs_ml`` is the part of the lesion outside the
lungs that may be lung: what lies in the upper three quarters of their height. Below, in front of the recess, is
abdomen."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a segmenter knows of its own error on one scan.

    Parameters
    ----------
    points
        By part and share: points of lung by which the share moves when the segmentation is made differently.
    reference
        By share: how far this model's share lies from a reader's on cases like those it was calibrated on,
        relative to the share.
    floor_points
        No share is known better than this.
    widening
        By share: the factor on the parts' sum that made the interval cover.
    level
        Stated coverage, 0 to 1.
    """

    points: Mapping[str, Mapping[str, float]]
    reference: Mapping[str, float]
    floor_points: float
    widening: Mapping[str, float]
    level: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Limits of each share in percent of lung, the parts they are made of in points, and the stated coverage."""

    percent: Mapping[str, tuple[float, float]]
    parts: Mapping[str, Mapping[str, float]]
    level: float


@dataclass(frozen=True, slots=True, eq=False)
class TissueMap:
    """The tissue of every voxel of a grid.

    Parameters
    ----------
    labels_kji
        uint8, values of `Tissue`.
    side_kji
        uint8, values of `Side`, 0 outside the lungs; None before the lungs are told apart.
    dropped_ml
        What tidying took away or filled in, by cause.
    doubt
        What the segmenter knows of its error; None if it cannot tell.
    """

    labels_kji: NDArray[np.uint8]
    grid: Grid
    side_kji: NDArray[np.uint8] | None = None
    dropped_ml: Mapping[str, float] = field(default_factory=dict)
    doubt: Doubt | None = None

    def __post_init__(self) -> None:
        for array in (self.labels_kji, self.side_kji):
            if array is not None and (array.shape != self.grid.shape_kji or array.dtype != np.uint8):
                raise ValueError(f"{array.dtype} {array.shape} is not uint8 {self.grid.shape_kji}")
        if self.labels_kji.size and self.labels_kji.max() > max(Tissue):
            raise ValueError(f"label {self.labels_kji.max()} is no tissue")


@dataclass(frozen=True, slots=True)
class SegmenterFacts:
    """Which segmenter made a map, for the record; the digest is of all that decides its numbers."""

    name: str
    version: str
    sha256: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    lesion_probability: float | None = None


class Segmenter(Protocol):
    """Anything that names the tissue of every voxel of a scan."""

    @property
    def facts(self) -> SegmenterFacts:
        """Name, weights and device, for the record."""
        ...

    def __call__(self, scan: CtScan, /) -> TissueMap:
        """Label every voxel of `scan` on its own grid; islands and holes are left to tidying."""
        ...
