"""NIfTI in and out: the delivered mask, and what the viewer draws. Arrays are (k, j, i), affines in RAS mm."""

import gzip
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid, TissueMap, Vector
from volumetry.errors import InputError

Affine = NDArray[np.float64]
"""4 x 4: (i, j, k, 1) to RAS mm."""

CT_BESIDE = "ct.nii.gz"
"""A CT that a user put beside a result, on the grid of its mask."""
SOFTWARE_VOXELS = 2_000_000
"""A browser without a graphics card still draws this within seconds: 256 x 256 x 40 took 12 s, 512 x 512 x 300
never came back."""


def read_nifti(path: Path, hint: str | None = None) -> tuple[NDArray[Any], Affine]:
    """Voxels and affine of a NIfTI volume.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``.
    hint
        What to do if it cannot be read.

    Returns
    -------
    voxels_kji, affine_ras
        Voxels (k, j, i), scaled as the header says; 4 x 4, (i, j, k, 1) to RAS mm.

    Raises
    ------
    InputError
        If it cannot be read or does not have three axes.
    """
    try:
        image = nib.load(path)
        values = np.asarray(image.dataobj)
    except Exception as wrong:  # a damaged file raises anything, and its text may carry a path
        raise InputError(f"{path.name} cannot be read as NIfTI ({type(wrong).__name__})", hint=hint) from wrong
    if values.ndim != 3:
        raise InputError(f"{path.name} has {values.ndim} axes, not 3", hint=hint)
    return values.T, np.asarray(image.affine, float)


def mask_bytes(tissue: TissueMap) -> bytes:
    """A tissue map as a gzipped NIfTI-1 image.

    Parameters
    ----------
    tissue
        Labels of `Tissue` on their grid, and where there is fluid.

    Returns
    -------
    bytes
        As from `labels_bytes`; fluid is `volumetry.domain.FLUID`.
    """
    return labels_bytes(tissue.mask_kji, tissue.grid)


def labels_bytes(labels_kji: NDArray[np.uint8], grid: Grid) -> bytes:
    """A gzipped NIfTI-1 image of labels on their grid, the same bytes every time.

    Parameters
    ----------
    labels_kji
        uint8, (k, j, i), shape of `grid`.
    grid
        Where the voxels are.

    Returns
    -------
    bytes
        Axes (i, j, k), affine to RAS mm.
    """
    image = _image(labels_kji, grid.affine_ras)
    axes = np.asarray(grid.direction_lps)
    if np.allclose(axes @ axes.T, np.eye(3), atol=1e-5):
        image.set_qform(grid.affine_ras, code="scanner")
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


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
        HU or labels, (k, j, i).
    affine_ras
        4 x 4, (i, j, k, 1) to RAS mm, of the whole volume.
    steps_kji
        Every how many-th voxel is kept.

    Returns
    -------
    bytes
        Axes (i, j, k), affine to RAS mm.
    """
    k, j, i = steps_kji
    thinned = np.ascontiguousarray(volume_kji[::k, ::j, ::i])
    content: bytes = _image(thinned, affine_ras @ np.diag([float(i), float(j), float(k), 1.0])).to_bytes()
    return content


def _image(volume_kji: NDArray[Any], affine_ras: Affine) -> nib.Nifti1Image:
    """An image whose sform says where it lies; a qform cannot for every stack."""
    # NIfTI is stored i first: turned as a view, the voxels are written in the order in which they lie in memory.
    image = nib.Nifti1Image(volume_kji.T, affine_ras, dtype=volume_kji.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine_ras, code="scanner")
    image.set_qform(None, code="unknown")
    return image


def thinning_steps(
    shape_kji: tuple[int, int, int], spacing_kji_mm: Vector, most_voxels: int = SOFTWARE_VOXELS
) -> tuple[int, int, int]:
    """Take every how many-th voxel along each axis, so that at most `most_voxels` are left.

    The finest direction, in the slices or across them, is thinned first, so that what is left is as even in all
    directions as it can be.

    Parameters
    ----------
    shape_kji
        Number of voxels along each axis.
    spacing_kji_mm
        Length of a voxel along each axis, in mm.
    most_voxels
        That may be left.

    Returns
    -------
    tuple[int, int, int]
        Steps along k, j and i; powers of 2.

    Examples
    --------
    >>> thinning_steps((300, 512, 512), (1.0, 0.7, 0.7))
    (4, 4, 4)
    >>> thinning_steps((100, 256, 256), (2.5, 1.0, 1.0))
    (1, 2, 2)
    """
    across, within = 1, 1
    k_mm, in_plane_mm = spacing_kji_mm[0], min(spacing_kji_mm[1:])
    while math.prod(-(-n // by) for n, by in zip(shape_kji, (across, within, within), strict=True)) > most_voxels:
        if across * k_mm < within * in_plane_mm and across < shape_kji[0]:
            across *= 2
        else:
            within *= 2
    return across, within, within
