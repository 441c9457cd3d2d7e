"""Padding: where the scanner gave no value. Judged in the stored numbers, before anything is rescaled.

Smeared by interpolation, padding turns into fake densities at the edge of the field of view.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Hounsfield
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.pixels.decode import Stored

Mask = NDArray[np.bool_]

_LOWEST_AIR_HU = -1024.0
"""Below this no tissue and no air can be: the lower end of the usual 12-bit range."""


def padding_mask(stored_kji: Stored, slices: Sequence[SliceHeader], settings: Hounsfield) -> Mask | None:
    """Voxels without a value, or None if there are none.

    By the tag (value, or range to its limit) where the value is not a possible density; where it is one, such as
    stored 0 at -1024 HU, only pixels that hold it in every slice, so that noise in a lung is never taken away.
    Without a tag by the corners of the image, if they hold a constant that is not air.

    Parameters
    ----------
    stored_kji
        Stored numbers, in the order of `slices`.
    slices
        Their headers.
    settings
        The HU range in which the mode of air may lie.

    Returns
    -------
    Mask or None
        Bool, shape of `stored_kji`.

    References
    ----------
    DICOM PS3.3 C.7.5.1.1.2: Pixel Padding Value (0028,0120) and Pixel Padding Range Limit (0028,0121).
    """
    mask = np.zeros(stored_kji.shape, bool)
    steady = _steady_frame(stored_kji)
    for k, header in enumerate(slices):
        plane = stored_kji[k]
        for low, high in _tagged(header):
            inside = (plane >= low) & (plane <= high)
            mask[k] |= inside if _impossible(high, header) else inside & steady
        for value in _corner_constants(plane):
            hu = _hu(value, header)
            if hu < settings.air_mode_min_hu:
                mask[k] |= plane == value
            elif hu > settings.air_mode_max_hu:
                mask[k] |= (plane == value) & steady
    return mask if mask.any() else None


def _tagged(header: SliceHeader) -> list[tuple[int, int]]:
    """Closed range of stored numbers that the tags call padding; the limit may lie on either side of the value."""
    if not header.padding:
        return []
    return [(min(header.padding), max(header.padding))]


def _hu(stored: int, header: SliceHeader) -> float:
    slope, intercept = header.rescale
    return stored * slope + intercept


def _impossible(stored: int, header: SliceHeader) -> bool:
    return _hu(stored, header) < _LOWEST_AIR_HU


def _steady_frame(stored_kji: Stored) -> NDArray[np.bool_]:
    """Pixels that never change from slice to slice: what lies outside the reconstruction circle does not."""
    steady = np.ones(stored_kji.shape[1:], bool)
    for plane in stored_kji[1:]:
        steady &= plane == stored_kji[0]
    return steady


def _corner_constants(plane: NDArray[np.integer]) -> list[int]:
    """Values that at least three of the four corners hold, each in a small block of its own."""
    size = max(1, min(plane.shape) // 64)
    corners = (plane[:size, :size], plane[:size, -size:], plane[-size:, :size], plane[-size:, -size:])
    constants = Counter(int(c.flat[0]) for c in corners if c.min() == c.max())
    return [value for value, count in constants.items() if count >= 3]
