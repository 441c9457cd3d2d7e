"""Where a voxel lies: its side, and which third of the lungs' height."""

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid, TissueMap

ZONES = ("lower", "middle", "upper")


def plane_z_mm(grid: Grid, k: int) -> NDArray[np.float64]:
    """LPS z of the voxels of slice `k`: shape (rows, columns), or (1, 1) if it is the same for all of them."""
    per_k, per_j, per_i = grid.step_lps_mm[2]
    start = grid.origin_lps_mm[2] + k * per_k
    if per_j == 0 and per_i == 0:
        return np.full((1, 1), start)
    rows = np.arange(grid.shape_kji[1])[:, None] * per_j
    columns = np.arange(grid.shape_kji[2])[None, :] * per_i
    z_mm: NDArray[np.float64] = start + rows + columns
    return z_mm


def lung_height_mm(tissue: TissueMap) -> tuple[float, float] | None:
    """LPS z of the lowest and the highest lung voxel centre; None without lung."""
    lowest, highest = np.inf, -np.inf
    for k, plane in enumerate(tissue.labels_kji):
        lung = plane > 0
        if lung.any():
            z_mm = np.broadcast_to(plane_z_mm(tissue.grid, k), plane.shape)[lung]
            lowest, highest = min(lowest, z_mm.min()), max(highest, z_mm.max())
    return None if highest < lowest else (float(lowest), float(highest))


def zone_of(z_mm: NDArray[np.float64], height_mm: tuple[float, float]) -> NDArray[np.intp]:
    """Third of the lungs' height: 0 lower, 1 middle, 2 upper; equal heights, not equal volumes.

    >>> zone_of(np.array([0.0, 0.9, 1.1, 2.9]), (0.0, 3.0)).tolist()
    [0, 0, 1, 2]
    """
    low, high = height_mm
    third = (high - low) / 3
    return np.digitize(z_mm, [low + third, low + 2 * third])
