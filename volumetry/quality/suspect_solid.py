"""Lesion of our own mask that is probably none: organs and fat that the network took for dense lung.

What the network knows least is an organ that touches the lung. Three things betray such lesion, and none of them
is seen in consolidation but at its very edges:

* a **slab**: the lesion is at most 6 mm high, and above or below it, outside the mask, the same tissue goes on
  without a step in density. Liver, spleen, diaphragm, neck muscle and aorta are cut so, in the slice where the
  network went wrong, and not in the next;
* **fat**: homogeneous, around -90 HU; beside the heart, below the diaphragm's back, in the axilla;
* **too dense**: bone, calcification, or a vessel full of contrast.

Other tissue has the density of consolidation, so that place and surroundings alone betray it, and only in solid
bodies of 2 to 25 mL. A consolidation there may look the same: a reader must tell.

* a **hilum**, vessels and nodes: in the middle of the lungs' height and depth and in the inner part of a lung,
  less than 55 % of the surface is ground glass; of a larger body the part that lies there, if it is joined to the
  rest with less than a third of its surface;
* a **wall**, of the chest or of a great vessel: at least 55 % of the surface lies against what is outside the mask
  and less than 30 % is ground glass; or at least 40 % lies outside in the highest tenth of the lungs, where the
  chest wall bends over the apex.

Organs that are taken whole and thick are not seen, so the volume is a lower bound.

The thresholds were set by eye, in three planes, on sixteen chests: lidc-0001, -0003, -1011, qin-0003, -0009,
-0028, lung1-002, -003, 4dlung-113, onko-rt, tcga-a4ma, ricord-000082, pneumonia-001, -002, covid-p001, normal-001.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Config
from volumetry.domain import Box, CtScan, Finding, Tissue, TissueMap, Volumes
from volumetry.image.coarse import Mask, Strides, block_mean, block_middles, repeated, strides
from volumetry.image.components import bounding_box
from volumetry.image.orientation import axial_view
from volumetry.quality.blood_pool import PLAIN_HU
from volumetry.quality.places import images, only_side, side_and_zone
from volumetry.quality.weight import points_if_no_lesion, weighed

_COARSE_MM = (2.0, 2.5, 2.5)
"""The network's slabs are 2 mm thick; in the plane so much hides noise."""
_SLAB_MM = 6.0
"""Consolidation thinner than this along the body is an edge of something thicker."""
_STEP_HU = 40.0
"""Lung against tissue is 700 HU, consolidation against fat 130, against bone 150; noise of a block up to 20."""
_SOFT_HU = -150.0
"""Lesion lighter than fat is mixed with air."""
_FAT_HU = (-140.0, -40.0)
_EVEN_HU = 35.0
"""Largest deviation among 27 blocks of fat; a rim, mixed of lesion and lung to the same mean, has over 100."""
_DENSE_HU, _PLAIN_DENSE_HU = 130.0, 100.0
"""No lesion is denser than this over 6 mm, with contrast and without."""
_LEAST_ML = 0.5
"""Smaller bodies are the edges of something else."""
_BODY_ML = (2.0, 25.0)
"""Where place and surroundings tell; a whole lobe without air lies against the wall, too."""
_HILUM_UP, _HILUM_BACK, _HILUM_OUT = (0.40, 0.70), (0.40, 0.70), (0.18, 0.42)
"""Middle of the body: of the lungs' height from below, of their depth from the front, of half their width."""
_HILUM_GROUND_GLASS = 0.55
"""Largest share of the body's surface: consolidation of pneumonia lies in ground glass."""
_HILUM_JOINED = 1 / 3
"""Largest share of the surface where a part goes on as the large body: a consolidated lobe passes through."""
_WALL_OUTSIDE, _APEX_OUTSIDE = 0.55, 0.40
"""Least share of the body's surface that is outside the mask."""
_WALL_GROUND_GLASS = 0.30
_APEX_UP = 0.90
_MOST = 0.5
"""Share of a lesion in doubt from which on all of it is."""
_WORDS = {
    "slab": "is continuous with tissue outside the mask",
    "fat": "is fat",
    "dense": "is bone, calcification or contrast",
    "hilum": "lies as vessels and nodes of a hilum do",
    "wall": "lies mostly against tissue outside the lungs",
}
_SLAB, _FAT, _DENSE, _HILUM, _WALL = range(1, 6)
"""Places of these reasons among `_WORDS`."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One body of doubtful lesion.

    Parameters
    ----------
    ml
        Its volume, by reason: ``slab``, ``fat``, ``dense``, ``hilum``, ``wall``; each part is counted once.
    side, zone
        ``left`` or ``right``, and the third of the lungs' height.
    slices
        First and last index along the array's first axis.
    """

    ml: dict[str, float]
    side: str
    zone: str
    slices: tuple[int, int]

    @property
    def total_ml(self) -> float:
        """Volume for all reasons."""
        return sum(self.ml.values())


def suspect_findings(
    tissue: TissueMap, scan: CtScan, volumes: Volumes, blood_hu: float | None, config: Config
) -> Iterator[Finding]:
    """SUSPECT_SOLID with mL, place and points, from ``suspect_ml`` on."""
    suspects = suspect_solid(tissue, scan, blood_hu)
    ml = sum(one.total_ml for one in suspects)
    if ml < config.quality.suspect_ml:
        return
    points = points_if_no_lesion(volumes, ml)
    by_reason = {name: sum(one.ml.get(name, 0.0) for one in suspects) for name in _WORDS}
    reasons = ", ".join(
        f"{by_reason[name]:.1f} mL {words}" for name, words in _WORDS.items() if by_reason[name] >= 0.05
    )
    largest = "; ".join(
        f"{one.side} {one.zone} zone {one.total_ml:.1f} mL, {images(scan, one.slices)}" for one in suspects[:3]
    )
    more = f"; and {len(suspects) - 3} smaller" if len(suspects) > 3 else ""
    text = (
        f"at least {ml:.1f} mL of the lesion may be organ, vessel, fat or bone ({reasons}): {largest}{more}. "
        f"Without it the lesion percentage is {points:.2f} points lower"
    )
    yield weighed(config, "SUSPECT_SOLID", text, ml, points)


def suspect_solid(tissue: TissueMap, scan: CtScan, blood_hu: float | None = None) -> list[Suspect]:
    """Connected components of lesion that are probably not lesion, largest first.

    Parameters
    ----------
    tissue
        The delivered or the network's map.
    scan
        HU on the same grid.
    blood_hu
        Median HU of the blood pool; None if it is not known. It decides what is too dense.

    Returns
    -------
    list[Suspect]
        Each with volume in mL by reason, and place.
    """
    blocks = _blocks_of(tissue, scan, blood_hu)
    if blocks is None:
        return []
    block_ml = scan.grid.voxel_ml * float(np.prod(blocks.step))
    found, only = [], only_side(tissue)
    for box, body in blocks.bodies(block_ml):
        why = blocks.why[box]
        names = {name: np.count_nonzero(body & (why == n)) * block_ml for n, name in enumerate(_WORDS, 1)}
        where = np.argwhere(body) + [part.start + at.start for part, at in zip(box, blocks.box, strict=True)]
        low, high = where.min(0) * blocks.step, (where.max(0) + 1) * blocks.step - 1
        ml = {name: float(ml) for name, ml in names.items() if ml}
        found.append(
            Suspect(
                ml,
                *side_and_zone(where, blocks.lung, only),
                axial_view(scan.grid).slices_between(scan.grid, low, high),
            )
        )
    return sorted(found, key=lambda one: -one.total_ml)


def suspect_mask(tissue: TissueMap, scan: CtScan, blood_hu: float | None = None) -> Mask:
    """Where the bodies of `suspect_solid` lie, with the lesion up to a block beside them.

    A block is judged with its neighbours, so the rim of a body is not recognised with it. If most of a lesion is
    in doubt, the rest is in doubt with it, as ground glass around a piece of chest wall.

    Parameters
    ----------
    tissue, scan, blood_hu
        As for `suspect_solid`.

    Returns
    -------
    Mask
        Bool, (k, j, i): lesion in such a body or at its rim.
    """
    mask = np.zeros(tissue.grid.shape_kji, bool)
    blocks = _blocks_of(tissue, scan, blood_hu)
    if blocks is None:
        return mask
    within = np.zeros(blocks.why.shape, bool)
    for box, body in blocks.bodies(scan.grid.voxel_ml * float(np.prod(blocks.step))):
        within[box] |= body
    within = ndimage.binary_dilation(within, np.ones((3, 3, 3)))
    lesions, count = ndimage.label(blocks.lesion)
    in_doubt = ndimage.mean(within, lesions, np.arange(1, count + 1)) > _MOST
    within |= np.concatenate([[False], in_doubt])[lesions]
    voxels = tuple(slice(part.start * n, part.stop * n) for part, n in zip(blocks.box, blocks.step, strict=True))
    seen = axial_view(tissue.grid).of(mask)[voxels]  # a view: what is written here stands in the mask
    seen[...] = repeated(within, blocks.step, seen.shape)
    lesion: Mask = mask & (tissue.labels_kji > Tissue.AERATED)
    return lesion


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """The part of a scan with lung in blocks along anatomical axes, and the reason for doubt of each.

    `box` is the part, in blocks of `step` voxels; `lung` has the blocks of the whole scan.
    """

    why: NDArray[np.uint8]
    lesion: Mask
    lung: Mask
    box: Box
    step: Strides

    def bodies(self, block_ml: float) -> Iterator[tuple[Box, Mask]]:
        """Connected doubtful blocks that are not too small: their box within `why`, and the blocks in it."""
        labels, _ = ndimage.label(self.why > 0, np.ones((3, 3, 3)))
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            body = labels[box] == label
            if np.count_nonzero(body) * block_ml >= _LEAST_ML:
                yield box, body


def _blocks_of(tissue: TissueMap, scan: CtScan, blood_hu: float | None) -> _Blocks | None:
    """None without lesion."""
    view = axial_view(scan.grid)
    fine_mm = view.spacing_mm(scan.grid)
    step = strides(fine_mm, _COARSE_MM)
    labels = block_middles(view.of(tissue.labels_kji), step)
    box = bounding_box(labels, margin=3)
    if box is None or not (labels > Tissue.AERATED).any():
        return None
    fine = tuple(slice(part.start * n, part.stop * n) for part, n in zip(box, step, strict=True))
    hu = block_mean(view.of(scan.hu_kji)[fine], step, whole=True)
    dense_hu = _PLAIN_DENSE_HU if blood_hu is not None and blood_hu <= PLAIN_HU else _DENSE_HU
    by_place = _by_place(labels, float(np.prod(fine_mm) * np.prod(step)) / 1000, only_side(tissue) is None)
    why = _reasons(labels[box], hu, by_place[box], round(_SLAB_MM / (fine_mm[0] * step[0])), dense_hu)
    return _Blocks(why, labels[box] > Tissue.AERATED, labels > 0, box, step)


def _reasons(
    labels: NDArray[np.uint8], hu: NDArray[np.float32], by_place: NDArray[np.uint8], slab: int, dense_hu: float
) -> NDArray[np.uint8]:
    """Per block 0, or its reason."""
    lesion = labels > Tissue.AERATED
    mean = ndimage.uniform_filter(hu, 3)
    even = ndimage.uniform_filter(hu**2, 3) - mean**2 < _EVEN_HU**2
    why = np.zeros(labels.shape, np.uint8)
    why[_slabs(labels, hu, max(1, slab)) & (hu > _SOFT_HU)] = _SLAB
    why[lesion & even & (mean > _FAT_HU[0]) & (mean < _FAT_HU[1])] = _FAT
    why[lesion & (mean > dense_hu)] = _DENSE
    return np.where(why == 0, by_place, why)


def _by_place(labels: NDArray[np.uint8], block_ml: float, both_lungs: bool) -> NDArray[np.uint8]:
    """Per block 0, or the reason where a solid body, or a large one's part at a hilum, lies as no lesion does."""
    found = np.zeros(labels.shape, np.uint8)
    lung = bounding_box(labels)
    if lung is None:
        return found
    hilum = _hilum_of(lung, labels.shape) & both_lungs  # of one lung alone, the middle of the chest is not known
    large = np.zeros(labels.shape, bool)
    for around, body, ml in _bodies_of(labels == Tissue.SOLID, block_ml):
        if ml > _BODY_ML[1]:
            large[around] |= body
        elif ml >= _BODY_ML[0]:
            k, j, i = (round(n.mean()) + part.start for n, part in zip(np.nonzero(body), around, strict=True))
            outside, ground_glass, _ = _surface(labels[around], body)
            up = (k - lung[0].start) / max(1, lung[0].stop - 1 - lung[0].start)
            if (outside >= _WALL_OUTSIDE and ground_glass < _WALL_GROUND_GLASS) or (
                outside >= _APEX_OUTSIDE and up >= _APEX_UP
            ):
                found[around][body] = _WALL
            elif hilum[k, j, i] and ground_glass < _HILUM_GROUND_GLASS:
                found[around][body] = _HILUM
    for around, part, ml in _bodies_of(large & hilum, block_ml):
        _, ground_glass, joined = _surface(labels[around], part)
        small = _BODY_ML[0] <= ml <= _BODY_ML[1]
        if small and ground_glass < _HILUM_GROUND_GLASS and joined < _HILUM_JOINED:
            found[around][part] = _HILUM
    return found


def _bodies_of(mask: Mask, block_ml: float) -> Iterator[tuple[Box, Mask, float]]:
    """Connected parts of a mask: a box with a block around it, the part in it, and its volume."""
    labels, _ = ndimage.label(mask)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        k, j, i = (slice(max(0, part.start - 1), part.stop + 1) for part in box)
        body = labels[k, j, i] == label
        yield (k, j, i), body, float(np.count_nonzero(body) * block_ml)


def _surface(labels: NDArray[np.uint8], body: Mask) -> tuple[float, float, float]:
    """Of the blocks at the surface of a body, the shares outside the mask, of ground glass and of other solid."""
    surface = labels[ndimage.binary_dilation(body) & ~body]
    outside, ground_glass, solid = (
        float((surface == tissue).mean()) for tissue in (Tissue.OUTSIDE, Tissue.GROUND_GLASS, Tissue.SOLID)
    )
    return outside, ground_glass, solid


def _hilum_of(lung: Box, shape: tuple[int, ...]) -> Mask:
    """Blocks in the middle of the lungs' height and depth, in the inner part of either lung."""
    up, back, across = (
        (at - part.start) / max(1, part.stop - 1 - part.start)
        for at, part in zip(np.indices(shape, sparse=True), lung, strict=True)
    )
    out = np.abs(2 * across - 1)
    limits = ((up, _HILUM_UP), (back, _HILUM_BACK), (out, _HILUM_OUT))
    inside: Mask = np.logical_and.reduce(
        np.broadcast_arrays(*((low <= n) & (n <= high) for n, (low, high) in limits))
    )
    return inside


def _slabs(labels: NDArray[np.uint8], hu: NDArray[np.float32], highest: int) -> Mask:
    """Lesion in runs of at most so many blocks along the body that go on outside the mask, above or below."""
    lesion = labels > Tissue.AERATED
    found = np.zeros(lesion.shape, bool)
    for height in range(1, highest + 1):
        run = _runs(lesion, height)
        for bottom in range(run.shape[0]):
            here = run[bottom]
            if not here.any():
                continue
            top = bottom + height - 1
            goes_on = _same_outside(labels, hu, bottom, bottom - 1) | _same_outside(labels, hu, top, top + 1)
            found[bottom : top + 1] |= here & goes_on
    return found


def _runs(lesion: Mask, height: int) -> Mask:
    """Where a run of exactly this height begins, along the first axis."""
    padded = np.pad(lesion, ((1, height + 1), (0, 0), (0, 0)))
    n = lesion.shape[0]
    begins = padded[1 : n + 1] & ~padded[:n] & ~padded[height + 1 : height + 1 + n]
    for further in range(1, height):
        begins &= padded[1 + further : 1 + further + n]
    return begins


def _same_outside(labels: NDArray[np.uint8], hu: NDArray[np.float32], inside: int, beyond: int) -> Any:  # noqa: ANN401
    """Blocks of a section that have the same tissue outside the mask in the section beyond it."""
    if not 0 <= beyond < labels.shape[0]:
        return np.zeros(labels.shape[1:], bool)
    return (labels[beyond] == Tissue.OUTSIDE) & (np.abs(hu[beyond] - hu[inside]) < _STEP_HU)
