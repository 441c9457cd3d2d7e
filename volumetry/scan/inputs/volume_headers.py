"""What the header of a NIfTI, NRRD or MetaImage file says: geometry, numbers, and where they lie.

A header that leaves the place of a voxel open is refused: volumes need a spacing, left and right an orientation.
"""

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from volumetry.scan.inputs.nifti_header import nifti_header
from volumetry.scan.inputs.text_headers import layered_nrrd_header, metaimage_header, nrrd_header
from volumetry.scan.inputs.volume_header import VolumeError, VolumeHeader

_SKEW = 2e-3
"""Cosine between two axes: single precision and rounded direction cosines stay far below."""


def volume_header(start: bytes, *, packed: bool = False) -> VolumeHeader:
    """Read the header at the start of a file.

    Parameters
    ----------
    start
        The first 64 kB, inflated if the file is gzipped as a whole.
    packed
        Whether it is.

    Raises
    ------
    VolumeError
        BAD_VOLUME, BAD_VOLUME_GEOMETRY or NOT_CT_NUMBERS.
    """
    header, _layers, _keys = _parsed(start, lambda start: (_reader_of(start)(start), 1, {}))
    return _placed(header, packed=packed)


def layered_header(start: bytes, *, packed: bool = False) -> tuple[VolumeHeader, int, dict[str, str]]:
    """Read the header of a mask in NRRD or MetaImage, which may have layers and say which segment is which.

    Parameters
    ----------
    start, packed
        As for `volume_header`.

    Returns
    -------
    header, layers, keys
        Numbers for each voxel, and the key/value pairs of an NRRD.

    Raises
    ------
    VolumeError
        As `volume_header`.
    """

    def read(start: bytes) -> tuple[VolumeHeader, int, dict[str, str]]:
        return layered_nrrd_header(start) if _reader_of(start) is nrrd_header else (metaimage_header(start), 1, {})

    header, layers, keys = _parsed(start, read)
    return _placed(header, packed=packed), layers, keys


_Read = tuple[VolumeHeader, int, dict[str, str]]


def _parsed(start: bytes, read: Callable[[bytes], _Read]) -> _Read:
    try:
        return read(start)
    except (ValueError, OverflowError, KeyError, IndexError) as bad:  # their text holds values of the header
        raise VolumeError("BAD_VOLUME", f"the volume's header cannot be parsed ({type(bad).__name__})") from None


def _placed(header: VolumeHeader, *, packed: bool) -> VolumeHeader:
    if packed and header.packed_from is not None:
        raise VolumeError("BAD_VOLUME", "the volume is compressed twice")
    if packed and header.data_name is not None:
        raise VolumeError("BAD_VOLUME", "a compressed header that names another file for its data")
    _require_place(header)
    return replace(header, packed_from=0) if packed else header


def _reader_of(start: bytes) -> Callable[[bytes], VolumeHeader]:
    if start.startswith(b"NRRD000"):
        return nrrd_header
    if re.match(rb"\s*(ObjectType|NDims)\s*=", start[:200]):
        return metaimage_header
    return nifti_header


def _require_place(header: VolumeHeader) -> None:
    """Every axis has a length, the three span space, and they are not what programs write for want of better."""
    if not all(1 <= n <= 2**15 for n in header.shape_kji):
        raise VolumeError("BAD_VOLUME", f"a volume cannot have {' x '.join(map(str, header.shape_kji))} voxels")
    axes = header.affine_lps[:3, :3]
    if not np.isfinite(header.affine_lps).all() or not (np.abs(axes).max(axis=0) > 0).all():
        raise VolumeError("BAD_VOLUME_GEOMETRY", "the affine is not finite, or an axis has no length")
    if np.array_equal(np.abs(axes), np.eye(3)) and not header.affine_lps[:3, 3].any():
        message = "the affine is the identity, which programs write where they know none"
        raise VolumeError("BAD_VOLUME_GEOMETRY", f"{message}: no spacing and no orientation")
    units = axes / np.linalg.norm(axes, axis=0)
    skew = max(abs(float(units[:, a] @ units[:, b])) for a, b in ((0, 1), (0, 2), (1, 2)))
    if skew > _SKEW:
        degrees = 90 - math.degrees(math.acos(min(1.0, skew)))
        message = f"the axes are sheared by {degrees:.2f} degrees or do not span space"
        raise VolumeError("BAD_VOLUME_GEOMETRY", message)
