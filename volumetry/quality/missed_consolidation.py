"""Dense tissue that the lung mask may have left out: consolidation at the pleura is what lung masks miss.

Between a lung and the ribs behind and beside it there is nothing but a few millimetres of pleura and muscle. Soft
tissue that is thicker there is consolidation or collapse that the mask left out, pleural fluid or a pleural mass;
which of them, a reader must say. What the mask has as fluid is left out. Heart, great vessels and oesophagus lie
in the band before the spine, which is left out; liver, spleen and stomach lie in front of the lung's back and have
no lung below them. What has no lung in front of it or below it is not seen, so the volume is a lower bound.

Everything is done on means over blocks of about 2.5 mm: they hide noise, and suffice for a thickness of 8 mm.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Config
from volumetry.domain import CtScan, Finding, Grid, TissueMap
from volumetry.image.coarse import Mask, Strides, block_mean, block_spacing_mm, strides
from volumetry.image.components import bounding_box
from volumetry.image.morphology import opened_mm
from volumetry.image.orientation import AxialView, axial_view
from volumetry.quality.places import FoundTissue, images, only_side, zone_at
from volumetry.quality.weight import points_if_lesion, volumes_of, weighed

_MARGIN_MM = 40.0
"""Around the lungs: ribs and the muscle between them."""
_BONE_HU = 150.0
"""Mean of a block that touches a rib's cortex; above soft tissue, enhanced organs and most cartilage."""
_RIB_REACH_MM = 12.0
"""Ribs are drawn up and down by half the space between them and so close to a cage. As ribs slope, it also takes
in the few millimetres of muscle and pleura inside them: in three chests, two with disease, the gap left was 0."""
_DEEPEST_MM = 80.0
"""What lies further from the ribs' inside is not part of a lung's back: heart or abdomen lies between."""
_SOFT_HU = (-50.0, 150.0)
"""Consolidation, collapse, fluid, with and without contrast; the fat inside the ribs lies lower."""
_THICK_MM = 8.0
"""Thicker than pleura, intercostal vessels and the diaphragm's edge."""
_LEAST_ML = 5.0
"""Smaller bodies are edges of something else: up to 3.8 mL in two chests without any."""
_LEAST_CONTACT = 0.55
"""Share of a lung's outer face that lies at the ribs, below which a gap says nothing: 0.97 to 0.99 in three real
chests, 0.67 after the back half of a lung had been left out, 0.45 in a phantom whose ribs are a plain tube."""
_BAND_MM = {"left": 50.0, "right": 30.0}
"""Half-width of the mediastinum before the ribs' heads; the descending aorta lies on the left."""
_BELOW_REACH_MM = 8.0
"""Lung below is looked for in columns this near: the chest wall leans."""
_NOWHERE = 2**30


def dense_tissue_findings(tissue: TissueMap, scan: CtScan, config: Config) -> Iterator[Finding]:
    """A flag, with mL and place, for soft tissue between lung and ribs, from ``dense_outside_flag_ml`` on.

    Fluid is not separated from consolidation: effusions have medians of 5 and 12.5 HU and reach 33 (Diagn Interv
    Radiol 20:116, 2014), and the consolidations of one pneumonia measured here have 5 and 13.
    """
    bodies = tissue_outside_lungs(tissue, scan)
    ml = sum(body.ml for body in bodies)
    if ml >= config.quality.dense_outside_flag_ml:
        code = "DENSE_TISSUE_OUTSIDE_LUNG"
        median_hu = sum(body.ml * body.median_hu for body in bodies) / ml
        points = points_if_lesion(volumes_of(tissue), ml)
        slices = [k for body in bodies for k in body.slices]
        text = (
            f"at least {ml:.0f} mL of soft tissue of about {median_hu:.0f} HU between lung mask and ribs "
            f"({_places(bodies)}; {images(scan, slices)}): fluid, or missed consolidation. If all of it is "
            f"consolidation, the lesion percentage is {points:.2f} points higher"
        )
        yield weighed(config, code, text, ml, points)


def _places(bodies: Sequence[FoundTissue]) -> str:
    """What lies where, the most first."""
    ml: dict[str, float] = {}
    for body in bodies:
        where = f"{body.side} {body.zone} zone"
        ml[where] = ml.get(where, 0.0) + body.ml
    return ", ".join(f"{where} {ml[where]:.0f} mL" for where in sorted(ml, key=lambda name: -ml[name]))


def tissue_outside_lungs(tissue: TissueMap, scan: CtScan) -> list[FoundTissue]:
    """Soft tissue thicker than 8 mm between the lung mask and the ribs behind or beside it, largest first.

    Parameters
    ----------
    tissue
        The mask to be audited; any label above 0 is lung.
    scan
        Its HU. A scan in which no bone is seen gives an empty list.

    Returns
    -------
    list of FoundTissue
        Bodies of 5 mL and more. The volume is a lower bound: see the module.
    """
    view = _Chest.of(tissue, scan)
    if view is None:
        return []
    found = _thick_parts(view.candidates(), view.spacing_mm)
    labels, _ = ndimage.label(found)
    bodies = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        body = labels[box] == label
        ml = float(np.count_nonzero(body) * view.voxel_ml)
        if ml >= _LEAST_ML:
            middle = [
                float(np.mean(index)) + part.start for index, part in zip(np.nonzero(body), box, strict=True)
            ]
            side, zone = view.place(middle)
            slices = view.slices(scan.grid, box)
            bodies.append(FoundTissue(ml, side, zone, float(np.median(view.hu[box][body])), slices))
    return sorted(bodies, key=lambda one: -one.ml)


@dataclass(frozen=True, slots=True, eq=False)
class _Chest:
    """The lungs and what surrounds them, coarse; axes to the head, the back and the patient's left."""

    hu: NDArray[np.float32]
    lung: Mask
    fluid: Mask
    bone: Mask
    spacing_mm: tuple[float, float, float]
    voxel_ml: float
    start: list[int]
    step: Strides
    view: AxialView
    only: str | None

    @classmethod
    def of(cls, tissue: TissueMap, scan: CtScan) -> "_Chest | None":
        view = axial_view(scan.grid)
        labels = view.of(tissue.labels_kji)
        fine_mm = view.spacing_mm(scan.grid)
        step = strides(fine_mm)
        box = bounding_box(labels, margin=(0, round(_MARGIN_MM / fine_mm[1]), round(_MARGIN_MM / fine_mm[2])))
        if box is None:
            return None
        coarse = block_mean(view.of(scan.hu_kji)[box], step, whole=True)
        bone = coarse > _BONE_HU
        if not bone.any():
            return None
        inside = block_mean(labels[box] > 0, step, whole=True) > 0.5
        fluid = np.zeros_like(inside)
        if tissue.fluid_kji is not None:
            fluid = block_mean(view.of(tissue.fluid_kji)[box], step, whole=True) > 0.5
        start = [part.start for part in box]
        block_ml = scan.grid.voxel_ml * float(np.prod(step))
        return cls(
            coarse,
            inside,
            fluid,
            bone,
            block_spacing_mm(fine_mm, step),
            block_ml,
            start,
            step,
            view,
            only_side(tissue),
        )

    def slices(self, grid: Grid, box: tuple[slice, ...]) -> tuple[int, int]:
        """First and last slice of the scan in a box of blocks."""
        low = [at + part.start * n for at, n, part in zip(self.start, self.step, box, strict=True)]
        high = [at + part.stop * n - 1 for at, n, part in zip(self.start, self.step, box, strict=True)]
        return self.view.slices_between(grid, low, high)

    def candidates(self) -> Mask:
        """Soft tissue between lung and ribs, towards the back and towards either side."""
        cage = _widened(self.bone, (_RIB_REACH_MM, 0.0, 0.0), self.spacing_mm)
        lung_below = np.logical_or.accumulate(self.lung, axis=0)
        lung_below = _widened(lung_below, (0.0, _BELOW_REACH_MM, _BELOW_REACH_MM), self.spacing_mm)
        soft = (self.hu > _SOFT_HU[0]) & (self.hu < _SOFT_HU[1])
        left_mm = (np.arange(self.hu.shape[2]) - self._spine()) * self.spacing_mm[2]
        found = np.zeros_like(self.lung)
        for to_side, own in (
            (np.s_[:], left_mm > _BAND_MM["left"]),
            (np.s_[:, :, ::-1], left_mm < -_BAND_MM["right"]),
        ):
            behind, behind_gap_mm = _gap(self.lung, cage, 1, self.spacing_mm[1])
            beside, beside_gap_mm = _gap(self.lung[to_side], cage[to_side], 2, self.spacing_mm[2])
            own_lung = (self.lung & own).any(axis=2, keepdims=True)
            gaps_mm = np.concatenate([behind_gap_mm[:, 0, own].ravel(), beside_gap_mm[own_lung]])
            gaps_mm = gaps_mm[np.isfinite(gaps_mm)]
            if gaps_mm.size and np.mean(gaps_mm < _THICK_MM) >= _LEAST_CONTACT:
                found |= own & (behind | (beside[to_side] & lung_below))
        return found & soft & ~self.fluid

    def _spine(self) -> int:
        """Column with most bone in the middle half of the chest, or at the inner side of a single lung."""
        wide = np.flatnonzero(self.lung.any(axis=(0, 1)))
        quarter = wide.size // 4
        first, last = int(wide[0]) + quarter, int(wide[-1]) + 1 - quarter
        if self.only == "left":
            first, last = 0, int(wide[0]) + quarter
        elif self.only == "right":
            first, last = int(wide[-1]) + 1 - quarter, self.hu.shape[2]
        bone = ndimage.uniform_filter1d(
            self.bone.sum(axis=(0, 1)).astype(float), max(1, round(15 / self.spacing_mm[2]))
        )
        return first + int(np.argmax(bone[first:last]))

    def place(self, middle: list[float]) -> tuple[str, str]:
        """Side and zone of a point."""
        zone = zone_at(middle[0], np.flatnonzero(self.lung.any(axis=(1, 2))))
        return ("left" if middle[2] > self._spine() else "right"), zone


def _gap(lung: Mask, cage: Mask, axis: int, step_mm: float) -> tuple[Mask, NDArray[np.float32]]:
    """What lies between the outermost lung along an axis and the ribs, and how thick it is in mm.

    Infinite where there is no lung or no rib beyond it, or where what lies between is too deep for a lung's back.
    """
    shape = [1, 1, 1]
    shape[axis] = lung.shape[axis]
    at = np.arange(lung.shape[axis], dtype=np.int32).reshape(shape)
    outermost = np.where(lung, at, -1).max(axis=axis, keepdims=True)
    beyond = at > outermost
    first_rib = np.where(cage & beyond, at, _NOWHERE).min(axis=axis, keepdims=True)
    faces = (outermost >= 0) & (first_rib < _NOWHERE)
    gap_mm = np.where(faces, (first_rib - outermost - 1) * np.float32(step_mm), np.float32(np.inf))
    return beyond & (at < first_rib) & (gap_mm < _DEEPEST_MM), gap_mm


def _widened(mask: Mask, reach_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float]) -> Mask:
    """A mask grown by a box of half-widths in mm."""
    size = [2 * round(reach / step) + 1 for reach, step in zip(reach_mm, spacing_mm, strict=True)]
    grown: Mask = ndimage.maximum_filter(mask.astype(np.uint8), size) > 0
    return grown


def _thick_parts(mask: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """What remains of a mask without what is thinner than 8 mm; beyond the array lies none of it."""
    return opened_mm(np.pad(mask, 1), _THICK_MM / 2, spacing_mm)[1:-1, 1:-1, 1:-1]
