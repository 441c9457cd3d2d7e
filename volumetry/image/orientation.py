"""Which array axis runs to the head, to the back and to the patient's left, and how to look at an array so."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid, Vector

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class AxialView:
    """The nearest view of an array with axes to the head, the back and the patient's left.

    Parameters
    ----------
    axes
        Which array axis runs most nearly to the head, the back, the left.
    flipped
        Whether it runs the other way.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def of(self, array_kji: NDArray[T]) -> NDArray[T]:
        """A view, without copying, of an array on the scanner's grid; axes to the head, the back, the left.

        Parameters
        ----------
        array_kji
            On the scanner's grid.

        Returns
        -------
        NDArray[T]
            A view, without copying; axes to the head, the back, the left.
        """
        turned = array_kji.transpose(self.axes)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def spacing_mm(self, grid: Grid) -> Vector:
        """Length of a step along each axis of the view.

        Parameters
        ----------
        grid
            Of the array.

        Returns
        -------
        Vector
            In mm, to the head, the back, the left.
        """
        head, back, left = (grid.spacing_kji_mm[axis] for axis in self.axes)
        return head, back, left

    def slices_between(self, grid: Grid, low: Sequence[int], high: Sequence[int]) -> tuple[int, int]:
        """First and last index along the array's first axis (k) of a box of the view.

        Parameters
        ----------
        grid
            Of the array.
        low, high
            The box's first and last voxel along the view's axes; what lies beyond the grid's end is cut off.

        Returns
        -------
        first, last
            Both included.
        """
        along, size = self.axes.index(0), grid.shape_kji[0]
        first, last = int(low[along]), min(int(high[along]), size - 1)
        return (size - 1 - last, size - 1 - first) if self.flipped[along] else (first, last)


def axial_view(grid: Grid) -> AxialView:
    """How to look at arrays on `grid` so that slices are axial, rows run to the back and columns to the left.

    Parameters
    ----------
    grid
        Of the arrays.

    Returns
    -------
    AxialView
        The nearest one: axes are exchanged and turned round, never resampled.
    """
    to_left_back_head = np.asarray(grid.direction_lps)
    best = max(
        permutations(range(3)),
        key=lambda axes: sum(abs(to_left_back_head[axis, 2 - n]) for n, axis in enumerate(axes)),
    )
    flipped = [bool(to_left_back_head[axis, 2 - n] < 0) for n, axis in enumerate(best)]
    return AxialView((best[0], best[1], best[2]), (flipped[0], flipped[1], flipped[2]))
