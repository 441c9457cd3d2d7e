"""Slices of an earlier and of the present scan at the same places in the lungs.

Two visits share no coordinates: the table stands elsewhere and the breath is another. A place is therefore a share
of the height of the lungs. In each third it is where both visits together show most disease, so that disease that
has gone is seen as well as disease that has come.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from volumetry.deliver.report.images import (
    AXIAL,
    LUNG_WINDOW,
    Chest,
    Picture,
    filled,
    framed,
    pair,
    picture_size,
)
from volumetry.deliver.report.key_slices import IN_DOUBT, most_supported, shows_doubt

_THIRDS = ("Upper", "Middle", "Lower")
_LUNG_GREY = 70


@dataclass(frozen=True, slots=True)
class Beside:
    """An earlier and the present picture, and what they show."""

    then: Picture
    now: Picture
    caption: str


def beside(then: Chest, now: Chest) -> list[Beside]:
    """One axial slice of each third of the lungs' height, from above, of both visits.

    Parameters
    ----------
    then, now
        Earlier and present scan, or mask alone.

    Returns
    -------
    list[Beside]
        At most three.
    """
    (lowest, above), (old_lowest, old_above) = now.lung_planes, then.lung_planes
    height = above - lowest
    # The middle of each present slice, as a share of the lungs, in the earlier lungs.
    there = old_lowest + ((np.arange(height) + 0.5) / height * (old_above - old_lowest)).astype(int)
    disease_mm2 = _disease_mm2(now)[lowest:above] + _disease_mm2(then)[there]
    edges = np.linspace(0, height, 4).round().astype(int)
    found = []
    for name, low, high in zip(_THIRDS, edges[-2::-1], edges[:0:-1], strict=True):
        if low == high:
            continue
        within = disease_mm2[low:high]
        z = int(low + (most_supported(within, now.spacing_zyx_mm[0]) if within.any() else within.size // 2))
        old, new = int(there[z]), lowest + z
        caption = f"{name} third: {then.slice_places[old]} earlier, {now.slice_places[new]} now"
        visits = (("the earlier", then, old), ("the present", now, new))
        if doubtful := [which for which, chest, at in visits if shows_doubt(chest, (0, at))]:
            caption = f"{caption}; {' and '.join(doubtful)} slice includes {IN_DOUBT}"
        found.append(Beside(_shown(then, old, "Earlier"), _shown(now, new, "Now"), caption))
    return found


def _disease_mm2(chest: Chest) -> NDArray[np.int64]:
    """Area of disease in each axial slice, to the mm2."""
    _, y_mm, x_mm = chest.spacing_zyx_mm
    counts = np.count_nonzero(chest.lesion_zyx, axis=(1, 2))
    area_mm2: NDArray[np.int64] = (counts * y_mm * x_mm).round().astype(np.int64)
    return area_mm2


def _shown(chest: Chest, z: int, caption: str) -> Picture:
    """An axial slice with its mask, or the mask alone where there is no scan."""
    if chest.hu_zyx is not None:
        return pair(chest, (0, z), caption, LUNG_WINDOW)[1]
    mask = chest.mask_zyx[z]
    grey = np.where(mask > 0, np.uint8(_LUNG_GREY), np.uint8(0))
    size = picture_size(mask.shape, *chest.spacing_zyx_mm[1:])
    drawn = Image.fromarray(filled(grey, mask).round().astype(np.uint8))
    return framed(
        np.asarray(drawn.resize(size, Image.Resampling.NEAREST)), f"{caption}, mask without the CT", AXIAL
    )
