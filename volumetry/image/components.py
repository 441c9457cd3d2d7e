"""Connected bodies of a mask, by SimpleITK, on as small a box as possible."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumetry.domain import Box
from volumetry.image.threads import each_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """Connected components of a mask inside `box`, numbered from 1, largest first.

    Parameters
    ----------
    labels_kji
        Over the box, (k, j, i); 0 is background. Of the smallest unsigned type that can number them.
    sizes
        Voxels per component; ``sizes[n - 1]`` belongs to label n.
    box
        Where in the whole array the labels lie.
    """

    labels_kji: NDArray[np.unsignedinteger]
    sizes: NDArray[np.int64]
    box: Box

    def at_least(self, voxels: float) -> int:
        """How many components have at least so many voxels.

        Parameters
        ----------
        voxels
            Smallest size.

        Returns
        -------
        int
            n, where labels 1 to n are those components.
        """
        return int(np.count_nonzero(self.sizes >= voxels))

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, len(self.sizes) + 1))


def bounding_box(mask_kji: Mask | NDArray[np.uint8], margin: int | tuple[int, int, int] = 0) -> Box | None:
    """The smallest box around the voxels that are not 0, with a margin.

    Parameters
    ----------
    mask_kji
        Bool or labels, (k, j, i). Labels need not be compared with 0 first, which takes far longer than the rest.
    margin
        Voxels on each side, one number or one per axis; cut off at the end of the array.

    Returns
    -------
    Box or None
        None if every voxel is 0.
    """
    margins = (margin,) * 3 if isinstance(margin, int) else margin
    slices = np.flatnonzero(mask_kji.any(axis=(1, 2)))
    if slices.size == 0:
        return None
    seen_from_above: Mask = np.logical_or.reduce(mask_kji[slices[0] : slices[-1] + 1], axis=0)
    hits = (slices, np.flatnonzero(seen_from_above.any(axis=1)), np.flatnonzero(seen_from_above.any(axis=0)))
    k, j, i = (
        slice(max(int(hit[0]) - more, 0), min(int(hit[-1]) + 1 + more, size))
        for hit, more, size in zip(hits, margins, mask_kji.shape, strict=True)
    )
    return k, j, i


def bodies_of(mask_kji: Mask, *, corners: bool = True) -> Bodies:
    """Connected components, largest first; equal sizes keep the array order, so the result is reproducible.

    Parameters
    ----------
    mask_kji
        Bool, (k, j, i).
    corners
        Whether voxels that share only an edge or corner are connected (26 neighbours) or not (6).

    Returns
    -------
    Bodies
        Empty, with an empty box, if the mask is.
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
    # No label needs clipping, but looking for one that does takes as long as the rest.
    each_of(lambda k: rank.take(found[k], out=labels[k], mode="clip"), len(found))
    return Bodies(labels, sizes[order], box)


def slicewise_bincount(labels_kji: NDArray[np.integer], length: int = 0) -> NDArray[np.int64]:
    """`numpy.bincount` of a volume, slice by slice: numpy would first copy the whole volume to 64 bits.

    Parameters
    ----------
    labels_kji
        Not negative, (k, j, i).
    length
        Of the result at least.

    Returns
    -------
    NDArray[np.int64]
        Voxels by label.
    """
    length = max(length, int(labels_kji.max(initial=0)) + 1)
    halves = labels_kji[::2], labels_kji[1::2]  # not every slice: noise has a hundred thousand labels

    def counted(number: int) -> NDArray[np.int64]:
        counts = np.zeros(length, np.int64)
        for plane in halves[number]:
            counts += np.bincount(plane.ravel(), minlength=length)
        return counts

    one, other = each_of(counted, len(halves))
    return one + other
