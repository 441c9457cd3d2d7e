"""Orientation and position of slices as vectors."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volumetry.scan.headers.slice_header import SliceHeader

Array = NDArray[np.float64]


def is_orthonormal(orientation: Sequence[float], tolerance: float) -> bool:
    """Whether row and column direction are unit vectors at a right angle.

    >>> is_orthonormal((1, 0, 0, 0, 1, 0), 1e-3), is_orthonormal((1, 0, 0, 0.1, 1, 0), 1e-3)
    (True, False)
    """
    row, column = np.reshape(np.asarray(orientation, float), (2, 3))
    lengths = np.array([row @ row, column @ column])
    return bool(np.all(np.abs(np.sqrt(lengths) - 1) <= tolerance) and abs(row @ column) <= tolerance)


def orthonormal(orientation: Sequence[float]) -> Array:
    """3 x 3: row direction, column direction, slice normal, made exactly orthonormal (nearest by SVD)."""
    row, column = np.reshape(np.asarray(orientation, float), (2, 3))
    left, _, right = np.linalg.svd(np.stack([row, column]), full_matrices=False)
    row, column = left @ right
    return np.stack([row, column, np.cross(row, column)])


def angle_deg(one: Sequence[float], other: Sequence[float] | Array) -> float:
    """Largest angle between the row directions and between the column directions of two orientations."""
    a, b = np.reshape(np.asarray(one, float), (2, 3)), np.reshape(np.asarray(other, float), (2, 3))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not np.all(lengths > 0):
        return 180.0
    crossed = np.linalg.norm(np.cross(a, b), axis=1)  # the arctangent is exact for small angles, arccos is not
    return float(np.degrees(np.arctan2(crossed, np.sum(a * b, axis=1))).max())


def orientation_of_most(slices: Sequence[SliceHeader]) -> Array | None:
    """Orientation shared by most slices, up to rounding; None if no slice has a usable one."""
    rounded = Counter(
        tuple(round(x, 1) for x in h.orientation)
        for h in slices
        if h.orientation is not None and is_orthonormal(h.orientation, 0.01)
    )
    if not rounded:
        return None
    most = rounded.most_common(1)[0][0]
    mine = [h.orientation for h in slices if h.orientation and tuple(round(x, 1) for x in h.orientation) == most]
    return np.asarray(np.median(np.asarray(mine, float), axis=0))


def along_normal_mm(slices: Sequence[SliceHeader], orientation: Sequence[float] | Array) -> list[float]:
    """Position of every slice that has one along the normal of `orientation`."""
    normal = orthonormal(tuple(orientation))[2]
    return [float(normal @ np.asarray(h.position_lps_mm)) for h in slices if h.position_lps_mm is not None]
