"""Ground glass that the mask may have left out: lung that is denser than the rest of the lung at its depth.

A network that has learned how lungs look when they are breathed out, or towards the back, may take a faint and
even ground glass for such lung. What it calls aerated is therefore compared with itself: bodies in which the lung
between the vessels is even, denser than the median of all aerated lung at the same depth, and denser than an
inflated lung is anywhere. Vessels, bronchi and small nodules are uneven. Haze over most of a depth moves that
median and is not seen, nor is what is thinner than some 12 to 16 mm, so the volume is a lower bound.

Everything is done on means over blocks of about 4 mm. The limits were set on sixteen chests and on scans with
drawn disease (docs/validation.md, Ground glass that is missed).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Config
from volumetry.domain import CtScan, Finding, Tissue, TissueMap, Volumes
from volumetry.image.coarse import Mask, block_mean, strides
from volumetry.image.components import bounding_box
from volumetry.image.orientation import axial_view
from volumetry.quality.places import FoundTissue, images, only_side, side_and_zone
from volumetry.quality.weight import weighed

_COARSE_MM = (4.0, 4.0, 4.0)
_DENSER_HU = 60.0
"""Above the median at the same depth."""
_LEAST_HU = -820.0
"""An inflated lung is less dense, so that the better part of an emphysema is not taken for haze."""
_LOW, _HIGH = 8, 16
"""Of the 27 blocks around one in order, the first and last that must be of one density. Vessels fill fewer of them
than there are after the last."""
_EVEN_HU = 70.0
"""Between these two; around the vessels of a hilum it is more."""
_LEAST_ML = 20.0
"""In sixteen chests the largest body has 9 mL; of drawn haze that was missed, up to 1,161 mL."""
_DEPTHS = 8
"""Parts of the lungs from front to back, in each of which the median is taken."""
_LEAST_BLOCKS = 50
"""Fewer have no median worth the name."""


def haze_findings(tissue: TissueMap, scan: CtScan, volumes: Volumes, config: Config) -> Iterator[Finding]:
    """UNLABELLED_HAZE with mL, place and points, if there is any."""
    bodies = unlabelled_haze(tissue, scan)
    if not bodies:
        return
    ml = sum(body.ml for body in bodies)
    points = 100 * ml / volumes.lung
    where = "; ".join(
        f"{one.side} {one.zone} zone {one.ml:.0f} mL of about {one.median_hu:.0f} HU, {images(scan, one.slices)}"
        for one in bodies[:3]
    )
    more = f"; and {len(bodies) - 3} smaller" if len(bodies) > 3 else ""
    text = (
        f"at least {ml:.0f} mL of aerated lung are evenly denser than the rest at the same depth, by "
        f"{_DENSER_HU:.0f} HU or more ({where}{more}): look for ground glass there. If all of it is, the lesion "
        f"percentage is {points:.2f} points higher"
    )
    yield weighed(config, "UNLABELLED_HAZE", text, ml, points)


def unlabelled_haze(tissue: TissueMap, scan: CtScan) -> list[FoundTissue]:
    """Bodies of 20 mL and more of aerated lung that are evenly denser than the rest at their depth, largest first.

    Parameters
    ----------
    tissue
        The network's classes, postprocessed.
    scan
        HU on the same grid.

    Returns
    -------
    list of FoundTissue
        `median_hu` is that of the lung between the vessels. The volume is a lower bound: see the module.
    """
    view = axial_view(scan.grid)
    step = strides(view.spacing_mm(scan.grid), _COARSE_MM)
    labels = view.of(tissue.labels_kji)
    box = bounding_box(labels)
    if box is None or any(part.stop - part.start < 3 * n for part, n in zip(box, step, strict=True)):
        return []
    lung = block_mean(labels[box] > Tissue.OUTSIDE, step, whole=True) >= 1
    aerated = block_mean(labels[box] == Tissue.AERATED, step, whole=True) >= 1
    means = np.where(aerated, block_mean(view.of(scan.hu_kji)[box], step, whole=True), np.float32(np.inf))
    hu, high = (ndimage.rank_filter(means, rank, size=3, mode="constant", cval=np.inf) for rank in (_LOW, _HIGH))
    inside = aerated & np.isfinite(hu)
    even = high < hu + _EVEN_HU
    found = inside & even & (hu > _LEAST_HU) & (hu > _median_by_depth(hu, inside) + _DENSER_HU)
    labels_of, _ = ndimage.label(ndimage.binary_opening(found, np.ones((2, 2, 2))))
    block_ml = scan.grid.voxel_ml * float(np.prod(step))
    bodies = []
    for label, part in enumerate(ndimage.find_objects(labels_of), start=1):
        body = labels_of[part] == label
        ml = float(np.count_nonzero(body) * block_ml)
        if ml >= _LEAST_ML:
            low = [around.start + at.start * n for around, at, n in zip(box, part, step, strict=True)]
            high = [around.start + at.stop * n - 1 for around, at, n in zip(box, part, step, strict=True)]
            where = np.argwhere(labels_of == label)
            median_hu = float(np.median(hu[part][body]))
            slices = view.slices_between(scan.grid, low, high)
            bodies.append(FoundTissue(ml, *side_and_zone(where, lung, only_side(tissue)), median_hu, slices))
    return sorted(bodies, key=lambda one: -one.ml)


def _median_by_depth(hu: NDArray[np.float32], inside: Mask) -> NDArray[np.float32]:
    """Median of the lung in each row from front to back, (1, j, 1): of parts of the depth, and even between.

    Infinite where there is too little lung to say.
    """
    rows = np.flatnonzero(inside.any(axis=(0, 2)))
    edges = np.linspace(rows[0], rows[-1] + 1, _DEPTHS + 1) if rows.size else np.zeros(0)
    at, medians = [], []
    for first, last in pairwise(edges):
        part = slice(int(np.ceil(first)), int(np.ceil(last)))
        values = hu[:, part][inside[:, part]]
        if values.size >= _LEAST_BLOCKS:
            at.append((first + last) / 2)
            medians.append(float(np.median(values)))
    if not medians:
        return np.full((1, hu.shape[1], 1), np.inf, np.float32)
    return np.interp(np.arange(hu.shape[1]), at, medians).astype(np.float32)[None, :, None]
