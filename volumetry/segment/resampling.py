"""From the scanner's grid to the network's axial slices and back, in index space.

Only the index grid is scaled, along its own axes, with the outer voxel edges kept where they are. Directions never
enter, so a tilted or oblique stack comes back exactly onto itself.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from volumetry.domain import BODY_HU, Vector
from volumetry.segment.halves import reaching, to_single
from volumetry.segment.preprocess import InputRecipe, resize


def network_shape(shape_kji: tuple[int, ...], spacing_kji_mm: Vector, recipe: InputRecipe) -> tuple[int, int, int]:
    """Size of the network's grid for an axial array: fixed pixels in plane, thin slices averaged to slabs."""
    slices, rows, columns = shape_kji
    thin = spacing_kji_mm[0] < 0.75 * recipe.slab_mm
    return (
        max(1, round(slices * spacing_kji_mm[0] / recipe.slab_mm)) if thin else slices,
        max(1, round(rows * spacing_kji_mm[1] / recipe.spacing_mm)),
        max(1, round(columns * spacing_kji_mm[2] / recipe.spacing_mm)),
    )


def voxels_mm(shape_kji: tuple[int, ...], spacing_kji_mm: Vector, network_kji: tuple[int, int, int]) -> Vector:
    """Voxels of a grid that covers an axial array from edge to edge."""
    along = zip(spacing_kji_mm, shape_kji, network_kji, strict=True)
    k, j, i = (mm * voxels / here for mm, voxels, here in along)
    return k, j, i


def shrink(volume_kji: NDArray[np.float32], shape_kji: tuple[int, int, int]) -> NDArray[np.float32]:
    """An axial volume on the network's grid; linear, averaged over what a larger voxel covers."""
    slices, rows, columns = shape_kji
    in_plane = np.empty((volume_kji.shape[0], rows, columns), np.float32)
    for k, plane in enumerate(volume_kji):
        in_plane[k] = resize(plane, (rows, columns))
    if slices == volume_kji.shape[0]:
        return in_plane
    slabs = np.empty(shape_kji, np.float32)
    for j in range(rows):
        slabs[:, j] = resize(in_plane[:, j], (slices, columns))
    return slabs


PlaneBox = tuple[slice, slice]
"""Rows and columns."""
BODY_MARGIN_PX = 4


def body_box(volume_kji: NDArray[np.float32], step_px: int) -> PlaneBox:
    """Rows and columns of an axial volume that hold whatever is denser than air: patient, couch, blankets.

    A network that looks at nothing else spares the air around; all of the plane, if there is nothing else.

    Parameters
    ----------
    step_px
        The box begins at a multiple of it. A network that strides gives the same pixels other answers on another
        phase of its strides, so without this a blanket in one slice would move the outlines in all.
    """
    dense = (volume_kji > BODY_HU).any(axis=0)
    if not dense.any():
        return slice(0, dense.shape[0]), slice(0, dense.shape[1])
    (top, bottom), (left, right) = ((along.min(), along.max() + 1) for along in np.nonzero(dense))
    first_row, first_column = (max(0, int(low) - BODY_MARGIN_PX) // step_px * step_px for low in (top, left))
    return (
        slice(first_row, min(dense.shape[0], int(bottom) + BODY_MARGIN_PX)),
        slice(first_column, min(dense.shape[1], int(right) + BODY_MARGIN_PX)),
    )


def box_reaching(channels_ckji: NDArray[np.floating], level: float, shape_ji: tuple[int, int]) -> PlaneBox | None:
    """Rows and columns of the native grid outside which no channel can reach `level`, whatever the slice.

    Between the network's voxels the channels are linear, so they reach it only next to a voxel that does. None if
    no voxel does.
    """
    reached = reaching(channels_ckji, level).any(axis=(0, 1))
    if not reached.any():
        return None
    found = []
    for native, coarse, along in zip(shape_ji, reached.shape, np.nonzero(reached), strict=True):
        low, high = (along.min() - 1) * native / coarse, (along.max() + 2) * native / coarse
        found.append(slice(max(0, int(np.floor(low))), min(native, int(np.ceil(high)))))
    return found[0], found[1]


def native_planes(
    channels_ckji: NDArray[np.floating], shape_kji: tuple[int, int, int], box: PlaneBox | None = None
) -> Iterator[NDArray[np.float32]]:
    """Plane after plane of `shape_kji`, float32 (c, j, i), linear between the network's voxels.

    One plane at a time: probabilities of a whole thin-slice chest on its own grid would take gigabytes.

    Parameters
    ----------
    box
        Only these rows and columns of each plane; the values are those of the whole plane.
    """
    rows, columns = box or (slice(0, shape_kji[1]), slice(0, shape_kji[2]))
    per_row, per_column = channels_ckji.shape[2] / shape_kji[1], channels_ckji.shape[3] / shape_kji[2]
    source = (columns.start * per_column, rows.start * per_row, columns.stop * per_column, rows.stop * per_row)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    coarse = channels_ckji.shape[1]
    for k in range(shape_kji[0]):
        position = min(max((k + 0.5) * coarse / shape_kji[0] - 0.5, 0.0), coarse - 1.0)
        below = min(int(position), max(coarse - 2, 0))
        weight = np.float32(position - below)
        plane = to_single(channels_ckji[:, below])
        if weight > 0:
            plane = (1 - weight) * plane + weight * to_single(channels_ckji[:, below + 1])
        yield np.stack([_grown(channel, size, source) for channel in plane])


def _grown(
    image_ji: NDArray[np.float32], size: tuple[int, int], source: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """A part of an image, (left, top, right, bottom) in its pixels, at another size (columns, rows)."""
    picture = Image.fromarray(np.ascontiguousarray(image_ji))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=source))
