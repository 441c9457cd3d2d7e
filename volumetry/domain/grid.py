"""Where the voxels of an array lie in the patient."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the voxels are.

    Parameters
    ----------
    shape_kji
        Number of slices, rows, columns.
    spacing_kji_mm
        Length of one step along each array axis. For a tilted stack this is the length of the step itself,
        not its projection on the slice normal.
    origin_lps_mm
        Centre of voxel (0, 0, 0).
    direction_lps
        One unit vector per array axis (k, j, i): where it points. They need not be orthogonal (gantry tilt).

    Raises
    ------
    ValueError
        If a step is not positive and finite, a direction is no unit vector, or the three are coplanar.

    Examples
    --------
    >>> Grid((10, 10, 10), (2.0, 1.0, 1.0)).voxel_ml
    0.002
    """

    shape_kji: tuple[int, int, int]
    spacing_kji_mm: Vector
    origin_lps_mm: Vector = (0.0, 0.0, 0.0)
    direction_lps: tuple[Vector, Vector, Vector] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))

    def __post_init__(self) -> None:
        if len(self.shape_kji) != 3 or not all(n >= 1 for n in self.shape_kji):
            raise ValueError(f"a grid needs three axes of at least one voxel, got {self.shape_kji}")
        if len(self.spacing_kji_mm) != 3 or not all(0 < step < math.inf for step in self.spacing_kji_mm):
            raise ValueError(f"spacing must be positive and finite, got {self.spacing_kji_mm} mm")
        if not all(math.isfinite(x) for x in self.origin_lps_mm):
            raise ValueError(f"origin must be finite, got {self.origin_lps_mm} mm")
        axes = np.asarray(self.direction_lps, float)
        if axes.shape != (3, 3) or not np.allclose(np.linalg.norm(axes, axis=1), 1, atol=1e-6):
            raise ValueError(f"directions must be three unit vectors, got {self.direction_lps}")
        if not abs(np.linalg.det(axes)) > 0.1:
            raise ValueError(f"directions must span space, got {self.direction_lps}")

    @property
    def step_lps_mm(self) -> NDArray[np.float64]:
        """3 x 3: column n is the step in mm, as LPS, when array axis n (k, j, i) grows by one."""
        steps: NDArray[np.float64] = (
            np.asarray(self.direction_lps, float) * np.asarray(self.spacing_kji_mm)[:, None]
        )
        return steps.T

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel: absolute determinant of the index-to-mm matrix, right for tilted stacks too."""
        k, j, i = self.step_lps_mm.T
        return float(abs(k @ np.cross(j, i))) / 1000

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """4 x 4 for NIfTI: (i, j, k, 1) to RAS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.step_lps_mm[:, ::-1]
        affine[:3, 3] = self.origin_lps_mm
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine

    def part(self, box: Box) -> "Grid":
        """The grid of a box of voxels, where it lies in the patient; the box is not empty and has no steps."""
        start = np.array([part.start for part in box], float)
        shape = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
        x, y, z = (float(at) for at in self.lps_mm(start))
        return Grid(shape, self.spacing_kji_mm, (x, y, z), self.direction_lps)

    def lps_mm(self, index_kji: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions of voxel indices; shape (..., 3) in, (..., 3) out."""
        positions: NDArray[np.float64] = index_kji @ self.step_lps_mm.T + np.asarray(self.origin_lps_mm)
        return positions
