"""The lungs of a tidied map divided into five lobes, by their shape and by what the CT shows of the fissures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import Box, CtScan, LobeMap, NoLobes, Side, Tissue, TissueMap, Vector, place_code
from volumetry.image.coarse import Strides, block_mean, block_middles, strides
from volumetry.image.components import bounding_box
from volumetry.image.orientation import axial_view
from volumetry.segment.lobes.evidence import CoarseLung
from volumetry.segment.lobes.fissure import LEAST_BRIGHT, LEAST_CONTRAST, Fissure, find_fissure
from volumetry.segment.lobes.frame import LungFrame, Points, frame_of
from volumetry.segment.lobes.prior import mean_fissure

LEAST_LUNG_ML = 300.0
"""A smaller lung is collapsed, missing or cut off, and the mean fissures say nothing of it."""
LEAST_SIZE_MM = (80.0, 60.0, 35.0)
"""Height, depth and width of the smallest lung that is divided."""
THICKEST_MM = 2.5
"""Slices further apart do not show a fissure reliably."""
MOST_LESION = 0.25
"""Share of a lung: disease hides fissures and vessels."""
MOST_CUT = 0.1
"""Section at an end of the scan as a share of the lung's largest: with more, the lung's height is not known."""

_SAMPLE_MM: Vector = (1.5, 1.4, 1.4)
_SHAPE_MM: Vector = (4.0, 4.0, 4.0)
_NODE_MM: Vector = (4.0, 4.0, 4.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Lung:
    """One lung in its box of the axial view."""

    side: Side
    mask: NDArray[np.bool_]
    hu: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    origin_zyx_mm: Points
    steps_zyx_mm: NDArray[np.float64]
    voxel_ml: float

    def points(self, index: NDArray[np.float64]) -> Points:
        """(z, y, x) in mm of indices of the box."""
        found: Points = index @ self.steps_zyx_mm.T + self.origin_zyx_mm
        return found

    @property
    def spacing_mm(self) -> Vector:
        """Length of a step along each axis."""
        up, back, left = np.linalg.norm(self.steps_zyx_mm, axis=0).tolist()
        return up, back, left


def divide(tissue: TissueMap, scan: CtScan) -> LobeMap | NoLobes:
    """The five lobes of two lungs.

    Parameters
    ----------
    tissue
        Tidied, with sides.
    scan
        Its HU on the same grid.

    Returns
    -------
    LobeMap or NoLobes
        Every voxel of the lungs in one lobe; or why the lungs were not divided.

    Raises
    ------
    ValueError
        If the map has no sides or lies on another grid than the scan.
    """
    if tissue.side_kji is None or tissue.grid != scan.grid:
        raise ValueError("lobes need a map with sides on the scan's own grid")
    view = axial_view(tissue.grid)
    sides, codes = view.of(tissue.side_kji), np.zeros(tissue.grid.shape_kji, np.uint8)
    reasons: list[str] = []
    doubt_mm: dict[str, float] = {}
    for side in (Side.LEFT, Side.RIGHT):
        box = _box_of(sides, side)
        name = side.name.lower()
        if box is None:
            return NoLobes(f"no {name} lung was found")
        lung = _lung(tissue, scan, sides, box, side)
        frame = frame_of(_shape_points(lung), side)
        why_not = _too_small(lung, frame)
        if why_not:
            return NoLobes(why_not)
        unseen = _hidden(lung, len(sides), box)
        fissures = _fissures(lung, frame, follow=not unseen)
        names = [f"{name}_oblique", f"{name}_horizontal"][: len(fissures)]
        doubt_mm |= {which: f.doubt_mm for which, f in zip(names, fissures, strict=True)}
        reasons += unseen or [
            f"the CT does not show the {which.replace('_', ' ')} fissure ({_why_not(f)})"
            for which, f in zip(names, fissures, strict=True)
            if not f.followed
        ]
        _write_codes(view.of(codes)[box], lung, fissures)
    return LobeMap(codes, tissue.grid, tuple(dict.fromkeys(reasons)), doubt_mm)


def _box_of(sides: NDArray[np.uint8], side: Side) -> Box | None:
    """Where one lung lies; compared within the box of both, as a long scan has no room for a mask of its own."""
    both = bounding_box(sides)
    own = bounding_box(sides[both] == side) if both else None
    if both is None or own is None:
        return None
    up, back, across = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(both, own, strict=True))
    return up, back, across


def _lung(tissue: TissueMap, scan: CtScan, side_view: NDArray[np.uint8], box: Box, side: Side) -> _Lung:
    grid, view = tissue.grid, axial_view(tissue.grid)
    corners = np.array([[s.start for s in box]] * 4, float)
    corners[1:] += np.eye(3)
    index_kji = np.empty_like(corners)
    for n, (axis, flipped) in enumerate(zip(view.axes, view.flipped, strict=True)):
        index_kji[:, axis] = grid.shape_kji[axis] - 1 - corners[:, n] if flipped else corners[:, n]
    positions = np.round(grid.lps_mm(index_kji), 6)[:, ::-1]  # flipped arrays differ in the last digit
    return _Lung(
        side,
        side_view[box] == side,
        view.of(scan.hu_kji)[box],
        view.of(tissue.labels_kji)[box] > Tissue.AERATED,
        positions[0],
        (positions[1:] - positions[0]).T,
        grid.voxel_ml,
    )


def _shape_points(lung: _Lung) -> Points:
    """Points of a lung about every 4 mm."""
    step = strides(lung.spacing_mm, _SHAPE_MM)
    index = np.argwhere(lung.mask[:: step[0], :: step[1], :: step[2]]) * np.array(step, float)
    return lung.points(index if len(index) else np.argwhere(lung.mask).astype(float))


def _too_small(lung: _Lung, frame: LungFrame) -> str:
    """Why a lung is not divided; empty if it is."""
    name, ml = lung.side.name.lower(), float(np.count_nonzero(lung.mask) * lung.voxel_ml)
    if ml < LEAST_LUNG_ML:
        return f"the {name} lung has {ml:.0f} mL; less than {LEAST_LUNG_ML:.0f} mL is not divided"
    if (frame.size_zyx_mm < LEAST_SIZE_MM).any():
        up, back, across = frame.size_zyx_mm
        least = " x ".join(f"{mm:.0f}" for mm in LEAST_SIZE_MM)
        return (
            f"the {name} lung measures {up:.0f} x {back:.0f} x {across:.0f} mm; less than {least} is not divided"
        )
    return ""


def _hidden(lung: _Lung, sections_of_scan: int, box: Box) -> list[str]:
    """Why fissures cannot be looked for in a lung."""
    name, reasons = lung.side.name.lower(), []
    if lung.spacing_mm[0] > THICKEST_MM + 1e-3:
        reasons.append(f"slices are {lung.spacing_mm[0]:.1f} mm apart, more than {THICKEST_MM:g} mm")
    lesion = np.count_nonzero(lung.lesion & lung.mask) / np.count_nonzero(lung.mask)
    if lesion > MOST_LESION:
        reasons.append(f"{100 * lesion:.0f} % of the {name} lung is diseased")
    sections = np.count_nonzero(lung.mask, axis=(1, 2))
    ends = [sections[n] for n, at in ((0, box[0].start == 0), (-1, box[0].stop == sections_of_scan)) if at]
    if max(ends, default=0) > MOST_CUT * sections.max():
        reasons.append(f"the {name} lung is cut at an end of the scan")
    return reasons


def _fissures(lung: _Lung, frame: LungFrame, *, follow: bool) -> list[Fissure]:
    """The oblique fissure, and on the right the horizontal one."""
    points, coarse = _shape_points(lung), _coarse(lung)
    oblique = find_fissure(mean_fissure(frame, points, oblique=True), coarse, points, follow=follow)
    if lung.side == Side.LEFT:
        return [oblique]
    above = points[oblique.above_mm(points) > 0]
    return [oblique, find_fissure(mean_fissure(frame, above, oblique=False), coarse, above, follow=follow)]


def _why_not(fissure: Fissure) -> str:
    if fissure.contrast >= LEAST_CONTRAST or fissure.bright >= LEAST_BRIGHT:
        return "searches from two places end in different ones"
    found, wanted = 100 * fissure.contrast, 100 * LEAST_CONTRAST
    return f"{found:.1f} % fewer vessels than beside it; at least {wanted:.0f} % are wanted"


def _coarse(lung: _Lung) -> CoarseLung:
    step: Strides = strides(lung.spacing_mm, _SAMPLE_MM)
    free = block_middles(lung.mask & ~lung.lesion, step)
    hu = block_mean(lung.hu, step, whole=True)
    steps = lung.steps_zyx_mm * np.array(step, float)
    first = lung.points((np.array(step, float) - 1) / 2)
    return CoarseLung(hu, free, first, np.linalg.inv(steps))


def _write_codes(codes: NDArray[np.uint8], lung: _Lung, fissures: list[Fissure]) -> None:
    """Place codes of a lung into the view of its box, section by section."""
    step = strides(lung.spacing_mm, _NODE_MM)
    nodes = [np.unique(np.append(np.arange(0, n, s), n - 1)) for n, s in zip(lung.mask.shape, step, strict=True)]
    grid = lung.points(np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).astype(float))
    fields = [(fissure.above_mm(grid) / fissure.doubt_mm).astype(np.float32) for fissure in fissures]
    up, back, left = (_between(at, n) for at, n in zip(nodes, lung.mask.shape, strict=True))
    for k, section in enumerate(lung.mask):
        if not section.any():
            continue
        bands = [_band(_spread(_mixed(field, up[0][k], up[1][k]), back, left)) for field in fields]
        here = place_code(lung.side, bands[0], bands[1] if len(bands) > 1 else 0)
        codes[k][section] = here[section]


def _band(over: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 to 3: surely below, probably below, probably above, surely above."""
    found: NDArray[np.uint8] = (over > -1).astype(np.uint8) + (over > 0) + (over > 1)
    return found


def _between(nodes: NDArray[np.intp], size: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For every voxel along an axis the node before it, and how far it lies towards the next."""
    at = np.arange(size)
    before = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, max(len(nodes) - 2, 0))
    after = nodes[np.minimum(before + 1, len(nodes) - 1)]
    share = (at - nodes[before]) / np.maximum(after - nodes[before], 1)
    return before, share.astype(np.float32)


def _mixed(values: NDArray[np.float32], before: int, share: np.float32) -> NDArray[np.float32]:
    after = min(int(before) + 1, len(values) - 1)
    mixed: NDArray[np.float32] = values[before] * (1 - share) + values[after] * share
    return mixed


def _spread(
    plane: NDArray[np.float32],
    rows: tuple[NDArray[np.intp], NDArray[np.float32]],
    columns: tuple[NDArray[np.intp], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Bilinear interpolation of a section's nodes to its voxels."""
    for axis, (before, share) in enumerate((rows, columns)):
        after = np.minimum(before + 1, plane.shape[axis] - 1)
        weight = share[:, None] if axis == 0 else share[None, :]
        plane = plane.take(before, axis) * (1 - weight) + plane.take(after, axis) * weight
    return plane
