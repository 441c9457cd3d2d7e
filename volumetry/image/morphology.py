"""Morphology in mm, by exact Euclidean distances: it means the same at every spacing.

Distances are SimpleITK's; each operation works on as small a box as possible.
"""

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumetry.domain import Box, Vector
from volumetry.image.components import Mask, bodies_of, bounding_box

TIE_MM = 1e-3
"""Distances come in 32 bits, rounded otherwise at another place of an array: so little further is as close."""


def distance_to_outside_mm(mask_kji: Mask, spacing_kji_mm: Vector) -> NDArray[np.float32]:
    """Distance of every mask voxel to the nearest voxel outside it.

    What lies beyond the array counts as neither; with nothing outside the distance is infinite. The filter is
    given the inverted mask, because inside a mask it would measure to the mask's own border voxels.

    Parameters
    ----------
    mask_kji
        Bool, (k, j, i).
    spacing_kji_mm
        Length of a voxel along each axis, in mm.

    Returns
    -------
    NDArray[np.float32]
        Between voxel centres, in mm; 0 outside the mask.
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


def box_within(mask_kji: Mask, reach_mm: float, spacing_kji_mm: Vector) -> Box | None:
    """The box that holds all voxels within a distance of a mask.

    Parameters
    ----------
    mask_kji
        Bool, (k, j, i).
    reach_mm
        Distance in mm.
    spacing_kji_mm
        Length of a voxel along each axis, in mm.

    Returns
    -------
    Box or None
        None if the mask is empty.
    """
    k, j, i = (math.ceil(reach_mm / step) for step in spacing_kji_mm)
    return bounding_box(mask_kji, margin=(k, j, i))


def within_mm(mask_kji: Mask, reach_mm: float, spacing_kji_mm: Vector) -> Mask:
    """What lies within a distance of a mask, the mask included.

    Parameters
    ----------
    mask_kji
        Bool, (k, j, i).
    reach_mm
        Distance between voxel centres, in mm.
    spacing_kji_mm
        Length of a voxel along each axis, in mm.

    Returns
    -------
    Mask
        Morphological dilation of the mask.
    """
    near = np.zeros_like(mask_kji)
    box = box_within(mask_kji, reach_mm, spacing_kji_mm)
    if box is not None:
        near[box] = distance_to_outside_mm(~mask_kji[box], spacing_kji_mm) <= reach_mm + TIE_MM
    return near


def opened_mm(mask_kji: Mask, radius_mm: float, spacing_kji_mm: Vector) -> Mask:
    """What remains of a mask without what is thinner than twice the radius.

    What lies beyond the array counts as neither; pad the mask where it is outside.

    Parameters
    ----------
    mask_kji
        Bool, (k, j, i).
    radius_mm
        Of the ball, in mm.
    spacing_kji_mm
        Length of a voxel along each axis, in mm.

    Returns
    -------
    Mask
        Morphological opening of the mask.
    """
    core = distance_to_outside_mm(mask_kji, spacing_kji_mm) > radius_mm + TIE_MM
    return within_mm(core, radius_mm, spacing_kji_mm)


def filled_holes(mask_kji: Mask, max_voxels: float) -> Mask:
    """The enclosed holes of a mask, up to a size.

    Parameters
    ----------
    mask_kji
        Bool, (k, j, i).
    max_voxels
        Of the largest hole.

    Returns
    -------
    Mask
        True where the mask is not but is closed around it.
    """
    holes = np.zeros_like(mask_kji)
    box = bounding_box(mask_kji)
    if box is None:
        return holes
    view = holes[box]
    found = bodies_of(~mask_kji[box], corners=False)
    if not len(found.sizes):
        return holes
    enclosed = np.concatenate([[False], found.sizes <= max_voxels])
    for axis, (along, size) in enumerate(zip(found.box, view.shape, strict=True)):
        ends = [end for end, reached in ((0, along.start == 0), (-1, along.stop == size)) if reached]
        enclosed[found.labels_kji.take(ends, axis)] = False
    view[found.box] = enclosed[found.labels_kji]
    return holes
