"""Where to look: image numbers and positions as a viewer shows them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import CtScan, Side, TissueMap
from volumetry.wording import images_text


@dataclass(frozen=True, slots=True)
class FoundTissue:
    """One body of tissue that a check asks a reader to look at.

    Parameters
    ----------
    ml
        Its volume.
    side
        The patient's, ``left`` or ``right``.
    zone
        Third of the lungs' height in which its middle lies: ``lower``, ``middle``, ``upper``.
    median_hu
        Of its means over blocks.
    slices
        First and last index along the array's first axis.
    """

    ml: float
    side: str
    zone: str
    median_hu: float
    slices: tuple[int, int]


def images(scan: CtScan, slices: Iterable[int]) -> str:
    """The images from the first to the last of some slices, with their positions along the patient in mm.

    InstanceNumber (0020,0013) where the images have one, else the index of the slice counted from 0. The position
    is the coordinate of ImagePositionPatient (0020,0032) along which the slices are stacked, with its sign.

    Parameters
    ----------
    slices
        Indices along the array's first axis, at least one.
    """
    indices = sorted(int(k) for k in slices)
    first, last = indices[0], indices[-1]
    grid = scan.grid
    axis = int(np.argmax(np.abs(grid.direction_lps[0])))
    at_mm = [float(grid.lps_mm(np.array([k, 0.0, 0.0]))[axis]) for k in (first, last)]
    numbers = [scan.image_numbers[k] for k in (first, last)] if scan.image_numbers else ()
    return images_text(numbers, at_mm, axis, (first, last, grid.shape_kji[0]))


def zone_at(height: float, heights: NDArray[np.intp]) -> str:
    """Third of the lungs' height: ``lower``, ``middle`` or ``upper``.

    Parameters
    ----------
    heights
        Sections that hold lung, from the lowest to the highest, in the steps of `height`.
    """
    third = 3 * (height - heights[0]) / (heights[-1] - heights[0] + 1)
    return ("lower", "middle", "upper")[min(2, max(0, int(third)))]


def only_side(tissue: TissueMap) -> str | None:
    """``left`` or ``right`` if the map has that lung alone; None if it has both, or no sides."""
    if tissue.side_kji is None:
        return None
    there = [side for side in (Side.LEFT, Side.RIGHT) if any((plane == side).any() for plane in tissue.side_kji)]
    return there[0].name.lower() if len(there) == 1 else None


def side_and_zone(blocks: NDArray[np.intp], lung: NDArray[np.bool_], only: str | None) -> tuple[str, str]:
    """``left`` or ``right``, and the third of the lungs' height, of the middle of a body.

    Parameters
    ----------
    blocks
        (n, 3), where the body is; axes to the head, the back and the patient's left.
    lung
        The lungs in the same view.
    only
        From `only_side`: of one lung alone, the middle of the chest is not known.
    """
    across = np.flatnonzero(lung.any(axis=(0, 1)))
    left = float(np.median(blocks[:, 2])) > (across[0] + across[-1]) / 2
    zone = zone_at(float(np.median(blocks[:, 0])), np.flatnonzero(lung.any(axis=(1, 2))))
    return only or ("left" if left else "right"), zone
