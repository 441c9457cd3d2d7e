"""Small scans made in memory, whose tissues are known because they are drawn here."""

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import CtScan, Grid, SeriesInfo, Tissue, TissueMap

AXIAL = Grid((40, 64, 64), (5.0, 5.0, 5.0), origin_lps_mm=(-160.0, -160.0, 0.0))


def ball(grid: Grid, centre_kji: tuple[float, float, float], radius_mm: float) -> NDArray[np.bool_]:
    """Voxels whose centre lies within a radius of a point given in voxel indices."""
    index = np.stack(np.indices(grid.shape_kji), axis=-1) - np.asarray(centre_kji)
    mm = index * np.asarray(grid.spacing_kji_mm)
    return (mm**2).sum(axis=-1) <= radius_mm**2


def chest(
    grid: Grid = AXIAL, gap_mm: float = 20.0, radius_mm: float = 60.0
) -> tuple[NDArray[np.float32], TissueMap]:
    """A body with two ball lungs (about 900 mL each) beside the midline; HU and the true labels."""
    k, j, i = (n / 2 for n in grid.shape_kji)
    offset = (radius_mm + gap_mm / 2) / grid.spacing_kji_mm[2]
    hu = np.full(grid.shape_kji, -1000, np.float32)
    hu[:, 6:-6, 3:-3] = 40
    labels = np.zeros(grid.shape_kji, np.uint8)
    for centre_i in (i - offset, i + offset):
        lung = ball(grid, (k, j, centre_i), radius_mm)
        hu[lung] = -850
        labels[lung] = Tissue.AERATED
    return hu, TissueMap(labels, grid)


def scan_of(hu: NDArray[np.float32], grid: Grid = AXIAL, no_data: NDArray[np.bool_] | None = None) -> CtScan:
    """A scan without a file behind it."""
    series = SeriesInfo("1.2.3", grid.shape_kji[0], grid.spacing_kji_mm)
    return CtScan(hu.astype(np.float32), grid, series, no_data_kji=no_data)
