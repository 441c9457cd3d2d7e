"""The mask as NIfTI on the scanner's own grid."""

import gzip

import nibabel as nib
import numpy as np

from volumetry.domain import TissueMap


def mask_bytes(tissue: TissueMap) -> bytes:
    """A gzipped NIfTI-1 image of the labels, the same bytes every time.

    The sform always holds the exact affine; the qform only where it can, since it cannot express a tilted stack.
    """
    image = nib.Nifti1Image(np.ascontiguousarray(tissue.labels_kji.T), tissue.grid.affine_ras, dtype=np.uint8)
    image.header.set_xyzt_units("mm")
    image.set_sform(tissue.grid.affine_ras, code="scanner")
    axes = np.asarray(tissue.grid.direction_lps)
    if np.allclose(axes @ axes.T, np.eye(3), atol=1e-5):
        image.set_qform(tissue.grid.affine_ras, code="scanner")
    else:
        image.set_qform(None, code="unknown")
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)
