"""Coordinates of one lung: normalised to its box, and a frame in mm over each fissure.

Points are (z, y, x) in mm as in LPS: to the head, to the back, to the patient's left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Side

Points = NDArray[np.float64]
_ENDS_PERCENT = (0.5, 99.5)
"""Of the voxels along an axis: where a lung begins and ends, whatever a few of them do."""


@dataclass(frozen=True, slots=True, eq=False)
class LungFrame:
    """The box of one lung.

    Parameters
    ----------
    side
        Left or right; lateral is outwards on either.
    centre_zyx_mm, size_zyx_mm
        Middle and lengths of the box.
    """

    side: Side
    centre_zyx_mm: Points
    size_zyx_mm: Points

    @property
    def outwards(self) -> float:
        """Sign of x towards the lateral wall."""
        return 1.0 if self.side == Side.LEFT else -1.0

    def normalised(self, points_zyx_mm: Points) -> tuple[Points, Points, Points]:
        """Lateral, back and up of points, each from -0.5 to 0.5 over the box."""
        up, back, left = np.moveaxis((points_zyx_mm - self.centre_zyx_mm) / self.size_zyx_mm, -1, 0)
        return left * self.outwards, back, up


def frame_of(lung_zyx_mm: Points, side: Side) -> LungFrame:
    """The frame of a lung from a sample of its points."""
    low, high = np.percentile(lung_zyx_mm, _ENDS_PERCENT, axis=0)
    return LungFrame(side, (low + high) / 2, high - low)


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A plane through the middle of a lung over which a fissure is a height field.

    Parameters
    ----------
    origin_zyx_mm
        Where all three coordinates are 0.
    axes_zyx
        Unit vectors: lateral; along the fissure from front to back; up, away from what lies below it.
    """

    origin_zyx_mm: Points
    axes_zyx: NDArray[np.float64]

    def coordinates(self, points_zyx_mm: Points) -> Points:
        """Lateral, along and height of points, in mm, on the last axis."""
        found: Points = (points_zyx_mm - self.origin_zyx_mm) @ self.axes_zyx.T
        return found

    def points(self, coordinates_mm: Points) -> Points:
        """The inverse of `coordinates`."""
        found: Points = coordinates_mm @ self.axes_zyx + self.origin_zyx_mm
        return found


def oblique_sheet(frame: LungFrame) -> Sheet:
    """Along the diagonal of the lung's sagittal box, from low in front to high at the back."""
    height, depth, _ = frame.size_zyx_mm
    up, back = np.array([height, depth]) / np.hypot(height, depth)
    axes = np.array([[0.0, 0.0, frame.outwards], [up, back, 0.0], [back, -up, 0.0]])
    return Sheet(frame.centre_zyx_mm, axes)


def horizontal_sheet(frame: LungFrame) -> Sheet:
    """Level: lateral, back, up."""
    return Sheet(frame.centre_zyx_mm, np.array([[0.0, 0.0, frame.outwards], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
