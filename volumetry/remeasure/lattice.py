"""A mask's voxels onto the scan's own grid: any order or flip of the axes, and any part of the grid, unresampled.

A voxel of the file is a voxel of the scan, or the file is not taken. A file with as many voxels as the scan must
lie exactly on it; a smaller one, which an editor has cropped, must lie inside it, and the rest is no lung.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid
from volumetry.errors import InputError

OFF_VOXELS = 0.05
"""How far a file's corners may lie from the scan's, in voxels: float32 affines, no resampling."""
_HINT = "Edit the delivered mask.nii.gz or seg.dcm itself, and save it without resampling."


class EditedMaskError(InputError):
    """The edited mask cannot be taken for this scan."""

    code = "EDITED_MASK"
    hint = _HINT


@dataclass(frozen=True, slots=True)
class Placement:
    """How a file's array (i, j, k) comes to lie on the scan's (i, j, k).

    Parameters
    ----------
    order, flips
        Axes of the file in the scan's order, and which of these run backwards.
    low
        First voxel of the scan, along i, j and k, that the file has.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]
    low: tuple[int, ...]

    def onto(self, values_ijk: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
        """Labels on the scan's grid, shape `grid.shape_kji`; 0 where the file has no voxel."""
        turned = values_ijk.transpose(self.order)[
            tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        ]
        whole = np.zeros(grid.shape_kji, np.uint8)
        box = tuple(slice(at, at + n) for at, n in zip(self.low, turned.shape, strict=True))
        whole[box[::-1]] = turned.T
        return whole


def placement(affine_ras: NDArray[np.float64], shape_ijk: tuple[int, ...], grid: Grid) -> Placement:
    """Where a file's voxels lie on the scan; raises EditedMaskError, with both geometries, if on another grid."""
    wanted = grid.shape_kji[::-1]
    found = _placement(np.linalg.inv(grid.affine_ras) @ affine_ras, shape_ijk, wanted)
    if found is None:
        raise EditedMaskError(
            f"the mask lies on another grid than the scan: mask {geometry(affine_ras, shape_ijk)}; "
            f"scan {geometry(grid.affine_ras, wanted)}"
        )
    return found


def _placement(mapping: NDArray[np.float64], shape: tuple[int, ...], wanted: tuple[int, ...]) -> Placement | None:
    turn = np.rint(mapping[:3, :3])
    if not all(np.array_equal(np.abs(turn).sum(axis=axis), [1, 1, 1]) for axis in (0, 1)):
        return None
    order = tuple(int(np.argmax(np.abs(row))) for row in turn)
    flips = tuple(bool(row.min() < 0) for row in turn)
    size = np.array([shape[axis] for axis in order])
    first = np.rint(mapping[:3, 3])
    low = (first - np.where(flips, size - 1, 0)).astype(int)
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]) * (np.asarray(shape) - 1)
    off = corners @ mapping[:3, :3].T + mapping[:3, 3] - (corners @ turn.T + first)
    inside = (low >= 0).all() and (low + size <= wanted).all()
    return Placement(order, flips, tuple(low.tolist())) if inside and np.abs(off).max() <= OFF_VOXELS else None


def geometry(affine_ras: NDArray[np.float64], shape: tuple[int, ...]) -> str:
    """Shape, spacing, axis directions and origin in words."""
    columns = affine_ras[:3, : len(shape)]
    spacing = np.linalg.norm(columns, axis=0)
    size = " x ".join(str(n) for n in shape)
    steps = " x ".join(f"{mm:.4g}" for mm in spacing)
    axes = "".join(
        "RAS"[n] if column[n] > 0 else "LPI"[n] for column in columns.T for n in [int(np.argmax(np.abs(column)))]
    )
    origin = ", ".join(f"{mm:.2f}" for mm in affine_ras[:3, 3])
    return f"{size} voxels of {steps} mm, axes {axes}, origin RAS ({origin}) mm"
