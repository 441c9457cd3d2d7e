"""The mask as NIfTI on the scanner's own grid."""

import gzip

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Grid, TissueMap


def mask_bytes(tissue: TissueMap) -> bytes:
    """A tissue map as a gzipped NIfTI-1 image; see `labels_bytes`."""
    return labels_bytes(tissue.labels_kji, tissue.grid)


def labels_bytes(labels_kji: NDArray[np.uint8], grid: Grid) -> bytes:
    """A gzipped NIfTI-1 image of labels (k, j, i) on their grid, the same bytes every time.

    The sform always holds the exact affine; the qform only where it can, since it cannot express a tilted stack.
    """
    # NIfTI is stored i first: turned as a view, the voxels are written in the order in which they lie in memory.
    image = nib.Nifti1Image(labels_kji.T, grid.affine_ras, dtype=np.uint8)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine_ras, code="scanner")
    axes = np.asarray(grid.direction_lps)
    if np.allclose(axes @ axes.T, np.eye(3), atol=1e-5):
        image.set_qform(grid.affine_ras, code="scanner")
    else:
        image.set_qform(None, code="unknown")
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)
