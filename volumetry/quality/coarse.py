"""The chest seen coarsely: means over blocks, with axes to the head, the back and the patient's left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid

Mask = NDArray[np.bool_]
Axes = tuple[int, int, int]


def to_head_back_left(grid: Grid) -> tuple[Axes, tuple[bool, bool, bool]]:
    """Which array axis runs most nearly to the head, the back and the left, and whether the other way."""
    axes_lps = np.asarray(grid.direction_lps)
    head = int(np.argmax(np.abs(axes_lps[:, 2])))
    back = max({0, 1, 2} - {head}, key=lambda axis: abs(axes_lps[axis, 1]))
    left = 3 - head - back
    flips = bool(axes_lps[head, 2] < 0), bool(axes_lps[back, 1] < 0), bool(axes_lps[left, 0] < 0)
    return (head, back, left), flips


def turned(values: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """An array of a grid with its axes to the head, the back and the left; a view."""
    axes, flipped = to_head_back_left(grid)
    return values.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flipped)]


def spacing_hbl_mm(grid: Grid) -> list[float]:
    """Length of a step to the head, the back and the left."""
    return [grid.spacing_kji_mm[axis] for axis in to_head_back_left(grid)[0]]


def slices_between(grid: Grid, low_hbl: Sequence[int], high_hbl: Sequence[int]) -> tuple[int, int]:
    """First and last index along the array's first axis of a box given in steps to the head, the back, the left.

    Parameters
    ----------
    low_hbl, high_hbl
        The box's first and last voxel; what lies beyond the grid's end is cut off.
    """
    axes, flipped = to_head_back_left(grid)
    along, size = axes.index(0), grid.shape_kji[0]
    first, last = int(low_hbl[along]), min(int(high_hbl[along]), size - 1)
    return (size - 1 - last, size - 1 - first) if flipped[along] else (first, last)


def block_means(values: NDArray[Any], step: list[int]) -> NDArray[np.float32]:
    """Means over whole blocks; what is left over at the far ends is dropped."""
    slabs = []
    for first in range(0, values.shape[0] - step[0] + 1, step[0]):
        slab = values[first : first + step[0]].mean(axis=0, dtype=np.float32)
        rows, columns = slab.shape[0] // step[1], slab.shape[1] // step[2]
        slab = slab[: rows * step[1], : columns * step[2]].reshape(rows, step[1], -1).mean(axis=1)
        slabs.append(slab.reshape(rows, columns, step[2]).mean(axis=2))
    return np.stack(slabs)


def block_middles(values: NDArray[Any], step: list[int]) -> NDArray[Any]:
    """The value in the middle of every whole block; a view."""
    within = tuple(
        slice(n // 2, n // 2 + n * (size // n - 1) + 1, n) for n, size in zip(step, values.shape, strict=True)
    )
    return values[within]
