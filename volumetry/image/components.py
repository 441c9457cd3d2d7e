"""Connected bodies of a mask, by SimpleITK, on as small a box as possible."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumetry.domain import Box

Mask = NDArray[np.bool_]

TIE_MM = 1e-3
"""Distances come in 32 bits, rounded otherwise at another place of an array: so little further is as close."""


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """Components of a mask inside `box`, numbered from 1, largest first.

    Parameters
    ----------
    labels_kji
        Over the box; 0 is background. Of the smallest unsigned type that can number them.
    sizes
        Voxels per body; ``sizes[n - 1]`` belongs to label n.
    box
        Where in the whole array the labels lie.
    """

    labels_kji: NDArray[np.unsignedinteger]
    sizes: NDArray[np.int64]
    box: Box

    def at_least(self, voxels: float) -> int:
        """How many bodies have at least so many voxels; they are labels 1 to that number."""
        return int(np.count_nonzero(self.sizes >= voxels))

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, len(self.sizes) + 1))


def bounding_box(mask_kji: Mask, margin: int | tuple[int, int, int] = 0) -> Box | None:
    """The smallest box around the True voxels, with a margin (one, or one per axis); None if there are none."""
    margins = (margin,) * 3 if isinstance(margin, int) else margin
    box = []
    for axis, margin in enumerate(margins):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(mask_kji.any(axis=others))
        if hit.size == 0:
            return None
        box.append(slice(max(int(hit[0]) - margin, 0), min(int(hit[-1]) + 1 + margin, mask_kji.shape[axis])))
    return box[0], box[1], box[2]


def bodies_of(mask_kji: Mask, *, corners: bool = True) -> Bodies:
    """Connected components, largest first; equal sizes keep the array order, so the result is reproducible.

    Parameters
    ----------
    mask_kji
        Any mask.
    corners
        Whether voxels that share only an edge or corner are connected (26 neighbours) or not (6).
    """
    box = bounding_box(mask_kji)
    if box is None:
        nowhere = (slice(0, 0),) * 3
        return Bodies(np.zeros((0, 0, 0), np.uint8), np.zeros(0, np.int64), nowhere)
    components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask_kji[box].view(np.uint8)), corners)
    found = sitk.GetArrayViewFromImage(components)  # 32 bits a voxel, which a long scan has not room for twice
    sizes = slicewise_bincount(found)[1:]
    order = np.argsort(-sizes, kind="stable")
    rank = np.zeros(len(sizes) + 1, np.min_scalar_type(len(sizes)))
    rank[order + 1] = np.arange(1, len(sizes) + 1)
    labels = np.empty(found.shape, rank.dtype)
    for k, plane in enumerate(found):
        labels[k] = rank[plane]
    return Bodies(labels, sizes[order], box)


def slicewise_bincount(labels_kji: NDArray[np.integer], length: int = 0) -> NDArray[np.int64]:
    """`numpy.bincount` of a volume, slice by slice: numpy would first copy the whole volume to 64 bits."""
    length = max(length, int(labels_kji.max(initial=0)) + 1)
    counts = np.zeros(length, np.int64)
    for plane in labels_kji:
        counts += np.bincount(plane.ravel(), minlength=length)
    return counts


def distance_to_outside_mm(mask_kji: Mask, spacing_kji_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """Distance of every mask voxel to the nearest voxel outside it, in mm; 0 outside.

    What lies beyond the array counts as neither; with nothing outside the distance is infinite. The filter
    is given the inverted mask, because inside a mask it would measure to the mask's own border voxels.
    """
    found = np.zeros(mask_kji.shape, np.float32)
    box = bounding_box(mask_kji, margin=1)  # of all that lies outside, a voxel in this margin is the nearest
    if box is None:
        return found
    inside = mask_kji[box]
    if inside.all():
        found[box] = np.inf
        return found
    image = sitk.GetImageFromArray((~inside).astype(np.uint8))
    image.SetSpacing(tuple(spacing_kji_mm[::-1]))
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    found[box] = np.where(inside, sitk.GetArrayViewFromImage(distance), np.float32(0))
    return found


def box_within(mask_kji: Mask, reach_mm: float, spacing_kji_mm: tuple[float, float, float]) -> Box | None:
    """The box that holds all voxels within a distance of a mask; None if the mask is empty."""
    k, j, i = (math.ceil(reach_mm / step) for step in spacing_kji_mm)
    return bounding_box(mask_kji, margin=(k, j, i))


def within_mm(mask_kji: Mask, reach_mm: float, spacing_kji_mm: tuple[float, float, float]) -> Mask:
    """What lies within a distance of a mask, the mask included."""
    near = np.zeros_like(mask_kji)
    box = box_within(mask_kji, reach_mm, spacing_kji_mm)
    if box is not None:
        near[box] = distance_to_outside_mm(~mask_kji[box], spacing_kji_mm) <= reach_mm + TIE_MM
    return near


def filled_holes(mask_kji: Mask, max_voxels: float) -> Mask:
    """The enclosed holes of a mask, up to a size: True where the mask is not but is closed around it."""
    holes = np.zeros_like(mask_kji)
    box = bounding_box(mask_kji)
    if box is None:
        return holes
    inside = mask_kji[box]
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    closed = sitk.GetArrayFromImage(sitk.BinaryFillhole(image, False)).astype(bool) & ~inside
    found = bodies_of(closed, corners=False)
    small = (found.labels_kji > len(found.sizes) - np.count_nonzero(found.sizes <= max_voxels)) & (
        found.labels_kji > 0
    )
    view = holes[box]
    view[found.box] = small
    return holes
