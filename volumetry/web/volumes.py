"""Arrays to NIfTI bytes for the viewer: whole, or thinned out for machines that draw in software."""

import math

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SOFTWARE_VOXELS = 2_000_000
"""A browser without a graphics card still draws this within seconds: 256 x 256 x 40 took 12 s, 512 x 512 x 300
never came back."""

Affine = NDArray[np.float64]


def thinning_steps(
    shape_kji: tuple[int, int, int], spacing_kji_mm: tuple[float, float, float], most_voxels: int = SOFTWARE_VOXELS
) -> tuple[int, int, int]:
    """Take every how many-th voxel along each axis, so that at most `most_voxels` are left.

    The finest direction, in the slices or across them, is thinned first, so that what is left is as even in all
    directions as it can be.

    >>> thinning_steps((300, 512, 512), (1.0, 0.7, 0.7))
    (4, 4, 4)
    >>> thinning_steps((100, 256, 256), (2.5, 1.0, 1.0))
    (1, 2, 2)
    """
    across, within = 1, 1
    k_mm, in_plane_mm = spacing_kji_mm[0], min(spacing_kji_mm[1:])
    while _thinned_size(shape_kji, (across, within, within)) > most_voxels:
        if across * k_mm < within * in_plane_mm and across < shape_kji[0]:
            across *= 2
        else:
            within *= 2
    return across, within, within


def _thinned_size(shape_kji: tuple[int, int, int], steps_kji: tuple[int, int, int]) -> int:
    return math.prod(-(-n // step) for n, step in zip(shape_kji, steps_kji, strict=True))


def nifti_bytes(
    volume_kji: NDArray[np.int16] | NDArray[np.uint8],
    affine_ras: Affine,
    steps_kji: tuple[int, int, int] = (1, 1, 1),
) -> bytes:
    """An uncompressed NIfTI-1 image.

    Voxels are left out, not averaged: every value that is read off the page is a value of the scan, and image and
    mask keep the same voxels.

    Parameters
    ----------
    volume_kji
        HU or labels.
    affine_ras
        4 x 4, (i, j, k, 1) to RAS mm, of the whole volume.
    steps_kji
        Every how many-th voxel is kept.
    """
    k, j, i = steps_kji
    thinned = np.ascontiguousarray(volume_kji[::k, ::j, ::i])
    affine = affine_ras @ np.diag([float(i), float(j), float(k), 1.0])
    image = nib.Nifti1Image(thinned.T, affine, dtype=thinned.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(None, code="unknown")  # a tilted stack has none, and the sform says all
    content: bytes = image.to_bytes()
    return content
