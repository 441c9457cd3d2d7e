"""Coarse grids: blocks of voxels of about one size in mm, whatever the scanner's spacing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Vector

Mask = NDArray[np.bool_]
Strides = tuple[int, int, int]
"""Voxels per block along each axis of an array."""

COARSE_MM = 2.5
"""Side of a block: fine enough for an airway, and its means hide the noise."""


def stride(spacing_mm: float, coarse_mm: float = COARSE_MM) -> int:
    """Voxels per block along one axis.

    Parameters
    ----------
    spacing_mm
        Length of a voxel, in mm.
    coarse_mm
        Wanted length of a block, in mm.

    Returns
    -------
    int
        The nearest number, at least 1.
    """
    return max(1, round(coarse_mm / spacing_mm))


def strides(spacing_mm: Vector, coarse_mm: Vector = (COARSE_MM, COARSE_MM, COARSE_MM)) -> Strides:
    """Voxels per block along three axes.

    Parameters
    ----------
    spacing_mm
        Length of a voxel along each axis, in mm.
    coarse_mm
        Wanted length of a block along each axis, in mm.

    Returns
    -------
    Strides
        One for each axis, in their order.

    Examples
    --------
    >>> strides((1.25, 0.7, 5.0))
    (2, 4, 1)
    """
    k, j, i = map(stride, spacing_mm, coarse_mm)
    return k, j, i


def block_spacing_mm(spacing_mm: Vector, step: Strides) -> Vector:
    """Length of a block along each axis.

    Parameters
    ----------
    spacing_mm
        Length of a voxel along each axis, in mm.
    step
        Voxels per block along each axis.

    Returns
    -------
    Vector
        In mm.
    """
    k, j, i = (mm * n for mm, n in zip(spacing_mm, step, strict=True))
    return k, j, i


def sampled(values: NDArray[Any], step: Strides) -> NDArray[Any]:
    """The first voxel of every block.

    Parameters
    ----------
    values
        Three axes.
    step
        Voxels per block along each axis.

    Returns
    -------
    NDArray[Any]
        A view.
    """
    return values[:: step[0], :: step[1], :: step[2]]


def block_middles(values: NDArray[Any], step: Strides) -> NDArray[Any]:
    """The voxel in the middle of every whole block.

    Parameters
    ----------
    values
        Three axes.
    step
        Voxels per block along each axis.

    Returns
    -------
    NDArray[Any]
        A view.
    """
    within = tuple(
        slice(n // 2, n // 2 + n * (size // n - 1) + 1, n) for n, size in zip(step, values.shape, strict=True)
    )
    return values[within]


def block_mean(values: NDArray[Any], step: Strides, *, whole: bool = False) -> NDArray[np.float32]:
    """Means over blocks of voxels.

    Parameters
    ----------
    values
        Three axes: numbers, or a mask, whose means are shares.
    step
        Voxels per block along each axis.
    whole
        Leave out what fills no block at the far end of an axis; else the last block is a smaller one.

    Returns
    -------
    NDArray[np.float32]
        float32, one for each block.

    Examples
    --------
    >>> block_mean(np.arange(5.0)[:, None, None], (2, 1, 1)).ravel().tolist()
    [0.5, 2.5, 4.0]
    """
    if whole:
        values = values[tuple(slice(size // n * n) for size, n in zip(values.shape, step, strict=True))]
    means = np.empty([-(-size // n) for size, n in zip(values.shape, step, strict=True)], np.float32)
    for layer, first in enumerate(range(0, len(values), step[0])):  # a layer stays in the processor's cache
        means[layer] = _layer_mean(values[first : first + step[0]], step)
    return means


def _layer_mean(values: NDArray[Any], step: Strides) -> NDArray[Any]:
    for axis, n in enumerate(step):
        if n > 1:
            along = np.moveaxis(values, axis, 0)
            sums, sizes = along[::n].astype(np.float32, order="K"), np.ones(-(-len(along) // n), np.float32)
            for offset in range(1, n):  # whole arrays at once: numpy's reduceat takes five times as long
                part = along[offset::n]
                sums[: len(part)] += part
                sizes[: len(part)] += 1
            values = np.moveaxis(sums / sizes[:, None, None], 0, axis)
    return values


def any_in_block(mask: Mask, step: Strides) -> Mask:
    """Whether any voxel of a block is True.

    Parameters
    ----------
    mask
        Bool, three axes.
    step
        Voxels per block along each axis; the last block of an axis may be smaller.

    Returns
    -------
    Mask
        Bool, one for each block.
    """
    for axis, n in enumerate(step):
        along = np.moveaxis(mask, axis, 0)
        found = along[::n].copy(order="K")
        for offset in range(1, n):
            part = along[offset::n]
            found[: len(part)] |= part
        mask = np.moveaxis(found, 0, axis)
    return mask


def repeated(blocks: NDArray[Any], step: Strides, shape: tuple[int, ...]) -> NDArray[Any]:
    """Blocks back to voxels: every voxel has its block's value.

    Parameters
    ----------
    blocks
        Three axes.
    step
        Voxels per block along each axis.
    shape
        Of the voxels.

    Returns
    -------
    NDArray[Any]
        Of `shape`.
    """
    for axis, n in enumerate(step):
        blocks = np.repeat(blocks, n, axis=axis)
    return blocks[: shape[0], : shape[1], : shape[2]]
