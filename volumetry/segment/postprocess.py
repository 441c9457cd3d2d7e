"""Clean-up of a tissue map: what is lung, which lung, no specks and no edges. What is dropped is counted.

Sizes are in mm3, so that they mean the same at every spacing. Tidying a tidy map changes nothing.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.segmentation import watershed

from volumetry.config import Tidy
from volumetry.domain import BODY_HU, CAUSES, Box, CtScan, Grid, Side, Tissue, TissueMap
from volumetry.image.coarse import any_in_block, block_spacing_mm, repeated, sampled, strides
from volumetry.image.components import Bodies, Mask, bodies_of, bounding_box
from volumetry.image.morphology import distance_to_outside_mm, filled_holes, within_mm
from volumetry.image.orientation import axial_view
from volumetry.segment.exclusion import no_lung

_ABDOMEN_SHARE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    label: int
    ml: float
    centre_lps_mm: tuple[float, float, float]
    lowest_z_mm: float
    highest_z_mm: float
    median_hu: float
    x_lps_mm: NDArray[np.float64]

    def share_left_of(self, midline_mm: float) -> float:
        """Share of the body on the patient's left of a sagittal plane."""
        return float(np.mean(self.x_lps_mm > midline_mm))


def tidy(tissue: TissueMap, scan: CtScan, settings: Tidy) -> TissueMap:
    """Keep the two lungs, fill their small holes, separate left from right and remove specks.

    Parameters
    ----------
    tissue
        From a segmenter.
    scan
        HU on the same grid: they separate gas (stomach, bowel, outside air) from lung.
    settings
        Sizes, from the configuration.

    Returns
    -------
    TissueMap
        With `side_kji`; `dropped_ml` states by cause what was taken away or filled in. A map in which no lung
        was found comes back empty: that is for the quality gate to refuse.
    """
    labels = tissue.labels_kji.copy()
    # From here on the segmenter's own labels, 200 MB of a long scan, are kept only by a caller who needs them.
    tissue = replace(tissue, labels_kji=labels)
    if scan.no_data_kji is not None:
        labels[scan.no_data_kji] = Tissue.OUTSIDE
    dropped = dict.fromkeys(CAUSES, 0.0) | dict(tissue.dropped_ml)
    box = bounding_box(labels, margin=1)
    if box is not None:
        # What surrounds gas decides whether it is lung, and gas may reach far out of the box.
        fluid = None if tissue.fluid_kji is None else tissue.fluid_kji[box]
        excluded = no_lung(labels, scan, settings, box)
        dropped |= _lungs_alone(labels[box], excluded, scan.part(box), settings, fluid)
        del excluded
        dropped |= _without_specks(labels[box], tissue.grid, settings)
    # Not beside the specks, though it could be: the labels of both at once are 300 MB of a long scan's peak.
    side = _sides(labels, scan, settings)
    fluid_kji = None if tissue.fluid_kji is None else _outside(tissue.fluid_kji, labels)
    return replace(tissue, side_kji=side, dropped_ml=dropped, fluid_kji=fluid_kji)


def _outside(fluid_kji: Mask, labels_kji: NDArray[np.uint8]) -> Mask:
    """Fluid where nothing is labelled. Memory of sections without fluid, mostly all of them, is never touched."""
    kept = np.zeros(fluid_kji.shape, bool)
    for k in np.flatnonzero(fluid_kji.any(axis=(1, 2))):
        kept[k] = fluid_kji[k] & (labels_kji[k] == Tissue.OUTSIDE)
    return kept


def _lungs_alone(
    labels: NDArray[np.uint8], excluded: Mask, scan: CtScan, settings: Tidy, fluid: Mask | None
) -> dict[str, float]:
    """Keep the lungs and fill their holes in place, given what cannot be lung; mL by cause.

    Fluid in a fissure is no hole.
    """
    voxel_ml = scan.grid.voxel_ml
    labelled = labels > 0
    lung = _lungs(labelled, excluded, scan, settings)
    left_out = labelled & ~lung
    lesion_left_out = left_out & (labels > Tissue.AERATED)
    labels[left_out] = Tissue.OUTSIDE

    holes = filled_holes(lung, settings.max_lung_hole_mm3 / 1000 / voxel_ml)
    if scan.no_data_kji is not None:
        holes &= ~scan.no_data_kji
    if fluid is not None:
        holes &= ~fluid
    labels[holes] = Tissue.AERATED
    return {
        "outside_lungs_ml": float(np.count_nonzero(left_out) * voxel_ml),
        "lesion_outside_lungs_ml": float(np.count_nonzero(lesion_left_out) * voxel_ml),
        "lesion_beside_lungs_ml": _beside_lungs(lesion_left_out, lung, scan.grid) * voxel_ml,
        "holes_filled_ml": float(np.count_nonzero(holes) * voxel_ml),
    }


def _beside_lungs(mask: Mask, lung: Mask, grid: Grid) -> int:
    """Voxels of a mask in the sections of the upper three quarters of the lungs' height."""
    view = axial_view(grid)
    heights = np.flatnonzero(view.of(lung).any(axis=(1, 2)))
    if not heights.size:
        return 0
    lowest = heights[0] + int(_ABDOMEN_SHARE * heights.size)
    return int(np.count_nonzero(view.of(mask)[lowest : heights[-1] + 1]))


def _without_specks(labels: NDArray[np.uint8], grid: Grid, settings: Tidy) -> dict[str, float]:
    """Drop lesions that are specks or shallow and rename specks of one class, in place; mL by cause."""
    voxel_ml = grid.voxel_ml
    lesions = bodies_of(labels > Tissue.AERATED)
    specks = _drop_specks(labels, lesions, settings.min_lesion_island_mm3 / 1000 / voxel_ml)
    shallow = _drop_shallow(labels, lesions, grid, settings)
    renamed = _merge_class_specks(labels, lesions, settings.min_component_island_mm3 / 1000 / voxel_ml)
    voxels = {"lesion_specks_ml": specks, "lesion_shallow_ml": shallow, "class_specks_ml": renamed}
    return {cause: float(voxel_ml * count) for cause, count in voxels.items()}


def with_sides(tissue: TissueMap, scan: CtScan, settings: Tidy) -> TissueMap:
    """The map with left and right lung separated and nothing else changed, for a mask that a reader has drawn.

    Parameters
    ----------
    tissue
        Any label above 0 is lung.
    scan
        HU on the same grid.
    settings
        ``[tidy]`` of the configuration.

    Returns
    -------
    TissueMap
        With ``side_kji``.
    """
    return replace(tissue, side_kji=_sides(tissue.labels_kji, scan, settings))


def _lungs(labelled: Mask, excluded: Mask, scan: CtScan, settings: Tidy) -> Mask:
    """The one or two bodies that are lungs, and larger fragments beside them."""
    candidates = labelled & ~excluded
    found = bodies_of(candidates, corners=False)
    voxel_ml = scan.grid.voxel_ml
    count = found.at_least(settings.min_lung_island_mm3 / 1000 / voxel_ml)
    bodies = [b for b in _described(found, count, scan) if b.median_hu >= settings.gas_hu]
    lung = np.zeros_like(candidates)
    if not bodies or bodies[0].ml < settings.min_lung_body_ml:
        return lung
    first = bodies[0]
    # A second lung lies beside the first, not below it: gas in the stomach or bowel lies below.
    lungs = [first]
    for body in bodies[1:]:
        if body.ml >= settings.min_second_lung_share * first.ml and _beside(body, first):
            lungs.append(body)
            break
    low, high = min(b.lowest_z_mm for b in lungs), max(b.highest_z_mm for b in lungs)
    fragments = [b for b in bodies if b not in lungs and low <= b.centre_lps_mm[2] <= high]
    kept = np.zeros(len(found.sizes) + 1, bool)
    kept[[b.label for b in lungs]] = True
    if fragments:
        step = strides(scan.grid.spacing_kji_mm)
        coarse = sampled(found.labels_kji, step)
        near = _within(coarse, np.isin(coarse, [b.label for b in lungs]), settings.fragment_distance_mm, scan.grid)
        dropped = sampled((excluded & labelled)[found.box], step)
        walls = _within(coarse, dropped, settings.wall_mm, scan.grid)
        kept[[b.label for b in fragments if b.label in near - walls]] = True
    lung[found.box] = kept[found.labels_kji]
    return lung


def _beside(body: _Body, lung: _Body) -> bool:
    fifth = (lung.highest_z_mm - lung.lowest_z_mm) / 5
    return lung.lowest_z_mm + fifth <= body.centre_lps_mm[2] <= lung.highest_z_mm


def _described(found: Bodies, count: int, scan: CtScan) -> Iterator[_Body]:
    """The `count` largest bodies with what distinguishes a lung from gas, from a sample about every 2.5 mm."""
    step = strides(scan.grid.spacing_kji_mm)
    start = np.array([s.start for s in found.box])
    for label in range(1, count + 1):
        mask = found.labels_kji == label
        index = np.argwhere(sampled(mask, step)) * step
        index = (index if index.size else np.argwhere(mask)) + start
        position = scan.grid.lps_mm(index)
        centre = position.mean(axis=0)
        yield _Body(
            label,
            float(found.sizes[label - 1] * scan.grid.voxel_ml),
            (float(centre[0]), float(centre[1]), float(centre[2])),
            float(position[:, 2].min()),
            float(position[:, 2].max()),
            float(np.median(scan.hu_kji[tuple(index.T)])),
            position[:, 0],
        )


def _within(coarse_kji: NDArray[np.integer], target: Mask, distance_mm: float, grid: Grid) -> set[int]:
    """Labels of which some voxel lies within a distance of a target, on the coarse grid."""
    spacing_mm = block_spacing_mm(grid.spacing_kji_mm, strides(grid.spacing_kji_mm))
    return set(np.unique(coarse_kji[within_mm(target, distance_mm, spacing_mm)]).tolist())


def _drop_specks(labels: NDArray[np.uint8], lesions: Bodies, min_voxels: float) -> int:
    """Lesion islands below a size become aerated lung; returns the voxels changed."""
    small = lesions.labels_kji > lesions.at_least(min_voxels)
    view = labels[lesions.box]
    view[small] = Tissue.AERATED
    return int(np.count_nonzero(small))


def _drop_shallow(labels: NDArray[np.uint8], lesions: Bodies, grid: Grid, settings: Tidy) -> int:
    """Small lesions that reach nowhere deep into a lung become aerated lung; returns the voxels changed.

    At a dome, beside muscle and along the mediastinum a voxel is part lung, part tissue, and the outline of a lung
    may pass a little beside it: this is called lesion in healthy people too.
    """
    spacing = grid.spacing_kji_mm
    margin = [math.ceil(settings.shallow_lesion_mm / step) for step in spacing]
    start = [along.start for along in lesions.box]
    first = lesions.at_least(settings.max_shallow_lesion_ml / grid.voxel_ml) + 1
    last = lesions.at_least(settings.min_lesion_island_mm3 / 1000 / grid.voxel_ml)
    boxes = find_objects(lesions.labels_kji) if last else []
    changed = 0
    for label in range(first, last + 1):
        own: Box = boxes[label - 1]
        body = lesions.labels_kji[own] == label
        at = [slice(a.start + s, a.stop + s) for a, s in zip(own, start, strict=True)]
        around = [slice(max(a.start - m, 0), a.stop + m) for a, m in zip(at, margin, strict=True)]
        inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(at, around, strict=True))
        depth_mm = distance_to_outside_mm(labels[tuple(around)] > Tissue.OUTSIDE, spacing)[inner]
        if depth_mm[body].max() < settings.shallow_lesion_mm:
            labels[tuple(at)][body] = Tissue.AERATED
            changed += int(lesions.sizes[label - 1])
    return changed


def _merge_class_specks(labels: NDArray[np.uint8], lesions: Bodies, min_voxels: float) -> int:
    """Islands of one lesion class take the other's class, unless they are a lesion of their own."""
    view = labels[lesions.box]
    changed = 0
    for mine, other in ((Tissue.SOLID, Tissue.GROUND_GLASS), (Tissue.GROUND_GLASS, Tissue.SOLID)):
        found = bodies_of(view == mine)
        small = found.labels_kji > found.at_least(min_voxels)
        islands = found.labels_kji[small]
        lesion_of = np.zeros(len(found.sizes) + 1, np.int32)
        lesion_of[islands] = lesions.labels_kji[found.box][small]
        part = np.flatnonzero(lesion_of)
        part = part[lesions.sizes[lesion_of[part] - 1] > found.sizes[part - 1]]
        taken = np.zeros(len(found.sizes) + 1, bool)
        taken[part] = True
        view[found.box][taken[found.labels_kji]] = other
        changed += int(found.sizes[part - 1].sum())
    return changed


def _sides(labels: NDArray[np.uint8], scan: CtScan, settings: Tidy) -> NDArray[np.uint8]:
    """Left and right by LPS x: by body where the lungs are apart, by the neck between them where they touch."""
    side = np.zeros(labels.shape, np.uint8)
    box = bounding_box(labels)
    if box is None:
        return side
    # The box is tight, so that the bodies' own box is all of it.
    found = replace(bodies_of(labels[box] > 0, corners=False), box=box)
    midline_mm = _midline_mm(scan, found.box[0])
    sided = np.zeros(len(found.sizes) + 1, np.uint8)
    joined = []
    for body in _described(found, len(found.sizes), scan):
        sided[body.label] = Side.LEFT if body.centre_lps_mm[0] > midline_mm else Side.RIGHT
        if min(body.share_left_of(midline_mm), 1 - body.share_left_of(midline_mm)) > settings.joined_share:
            joined.append(body.label)
    view = side[found.box]
    view[...] = sided[found.labels_kji]
    for label in joined:
        _cut_at_neck(view, found.labels_kji == label, found.box, scan.grid, midline_mm, settings)
    return side


def _cut_at_neck(
    side: NDArray[np.uint8], body: Mask, box: Box, grid: Grid, midline_mm: float, settings: Tidy
) -> None:
    """Divide a body that is two lungs grown together by a watershed from its deep cores, on a coarse grid."""
    step = strides(grid.spacing_kji_mm)
    coarse = any_in_block(body, step)
    spacing_mm = block_spacing_mm(grid.spacing_kji_mm, step)
    depth = distance_to_outside_mm(np.pad(coarse, 1), spacing_mm)[1:-1, 1:-1, 1:-1]
    enough = 0.1 * settings.min_lung_body_ml / (grid.voxel_ml * float(np.prod(step)))
    for multiple in (1, 2, 3, 4):
        cores = bodies_of(depth > multiple * settings.side_marker_mm, corners=False)
        count = cores.at_least(enough)
        if count >= 2:
            break
    else:
        return
    markers = np.zeros(coarse.shape, np.int32)
    markers[cores.box] = np.where(cores.labels_kji <= count, cores.labels_kji, 0)
    basins = watershed(-depth, markers, mask=coarse)
    start = np.array([s.start for s in box])
    sided = np.zeros(count + 1, np.uint8)
    for basin in range(1, count + 1):
        centre = grid.lps_mm(np.argwhere(basins == basin).mean(axis=0) * step + start)
        sided[basin] = Side.LEFT if centre[0] > midline_mm else Side.RIGHT
    side[body] = repeated(sided[basins], step, body.shape)[body]


def _midline_mm(scan: CtScan, slices: slice) -> float:
    """LPS x of the middle of the body in the lungs' slices; of the image, where there is no body."""
    step = strides(scan.grid.spacing_kji_mm)
    body = bodies_of(sampled(scan.hu_kji[slices], step) > BODY_HU)
    index = np.argwhere(body.labels_kji == 1).astype(float)
    if index.size == 0:
        index = np.array([scan.grid.shape_kji]) / 2 / step
    start = np.array([slices.start, 0, 0]) + [(s.start or 0) * n for s, n in zip(body.box, step, strict=True)]
    return float(scan.grid.lps_mm(index.mean(axis=0) * step + start)[0])
