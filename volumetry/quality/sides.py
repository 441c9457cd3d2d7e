"""Whether results by side can be trusted: a rule separates left from right, and its outcome is judged here.

Lungs that touch in the mask are cut where they are thinnest. That is right at the junction lines,
where they touch over a few mm in front of or behind the mediastinum, and arbitrary where half a lung hangs on the
other.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from volumetry.config import Config
from volumetry.domain import BODY_HU, CtScan, Finding, Grid, Side, TissueMap, Vector
from volumetry.image.coarse import Strides, block_spacing_mm, sampled, strides
from volumetry.image.components import bodies_of
from volumetry.image.morphology import distance_to_outside_mm
from volumetry.quality.places import images

_Reason = tuple[str, float, list[int]]
"""What is wrong, the number behind it, and in which slices."""

_THICKEST_JOINT_MM = 40.0
"""How thick lung may be where left and right meet: twice the largest depth there below the surface.

It was 7 to 21 mm in eight of sixteen whole chests, 25 mm in a ninth with emphysema, and 50 to 90 mm in simulated
lungs that had grown together; in the other seven chests the lungs are apart. The area says less: 39 cm2 in that
ninth, 62 in the simulated ones."""
_MOST_ACROSS = 1 / 3
"""Share of a lung beyond the middle of the chest. A lung that fills the place of a lost one stays below it; of a
label that spans both lungs about half lies there, and of one on the wrong side nearly all."""

_MOVES = ". Only results by side are affected; volumes and percentages of both lungs together do not change"

_OTHER = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}


def side_findings(tissue: TissueMap, scan: CtScan, config: Config) -> list[Finding]:
    """SIDE_CONFLICT with its first reason: a side swapped, one label over both lungs, or a cut through lung.

    Raises
    ------
    ValueError
        If the map has no sides.
    """
    side = tissue.side_kji
    if side is None:
        raise ValueError("the sides of a map can only be judged when it has them")
    grid = tissue.grid
    step = strides(grid.spacing_kji_mm)
    some, hu = sampled(side, step), sampled(scan.hu_kji, step)
    sample_ml = grid.voxel_ml * float(np.prod(step))
    reasons = (
        *_across(some, hu, _x_lps_mm(grid, step), step[0]),
        *_two_in_one(some, sample_ml, config.tidy.min_second_lung_share, step[0]),
        *_joined(some, block_spacing_mm(grid.spacing_kji_mm, step), step[0]),
    )
    return [
        Finding("SIDE_CONFLICT", config.outcome_of("SIDE_CONFLICT"), f"{text} ({where}){_MOVES}", round(value, 3))
        for text, value, slices in reasons[:1]
        for where in [images(scan, slices)]
    ]


def joint_mm(side: NDArray[np.uint8], spacing_kji_mm: Vector) -> float:
    """How thick lung is where left and right meet: twice the largest depth there below the surface; 0 if apart."""
    joint = binary_dilation(side == Side.LEFT) & (side == Side.RIGHT)
    if not joint.any():
        return 0.0
    return 2 * float(distance_to_outside_mm(np.pad(side > 0, 1), spacing_kji_mm)[1:-1, 1:-1, 1:-1][joint].max())


def _slices_of(lung: NDArray[np.bool_], step: int) -> list[int]:
    """Slices that hold a sampled lung."""
    found: list[int] = (np.flatnonzero(lung.any(axis=(1, 2))) * step).tolist()
    return found


def _joined(side: NDArray[np.uint8], spacing_kji_mm: Vector, step: int) -> Iterator[_Reason]:
    """A cut through much lung."""
    thick_mm = joint_mm(side, spacing_kji_mm)
    if thick_mm > _THICKEST_JOINT_MM:
        both = (side == Side.LEFT).any(axis=(1, 2)) & (side == Side.RIGHT).any(axis=(1, 2))
        yield (
            f"left and right lung meet where the lung is {thick_mm:.0f} mm thick: the boundary between them runs "
            "through lung",
            thick_mm,
            (np.flatnonzero(both) * step).tolist() or [0, (len(side) - 1) * step],
        )


def _across(
    side: NDArray[np.uint8], hu: NDArray[np.float32], x_lps_mm: NDArray[np.float64], step: int
) -> Iterator[_Reason]:
    """Lung on the side that its name denies. Without the CT the chest's middle is unknown, and nothing is said."""
    in_slices = side.any(axis=(1, 2))
    body = hu[in_slices] > BODY_HU
    if not body.any():
        return
    beside_middle_mm = x_lps_mm - float(np.broadcast_to(x_lps_mm, hu.shape)[in_slices][body].mean())
    for mine, beyond in ((Side.LEFT, beside_middle_mm < 0), (Side.RIGHT, beside_middle_mm > 0)):
        lung = side == mine
        share = float(np.broadcast_to(beyond, lung.shape)[lung].mean()) if lung.any() else 0.0
        if share > _MOST_ACROSS:
            name, other = mine.name.lower(), _OTHER[mine].name.lower()
            text = f"{100 * share:.0f} % of the lung labelled {name} lies on the patient's {other}"
            yield text, share, _slices_of(lung, step)


def _two_in_one(side: NDArray[np.uint8], sample_ml: float, least_share: float, step: int) -> Iterator[_Reason]:
    """Two lungs under one name and hardly any under the other."""
    for mine, other in _OTHER.items():
        voxels = bodies_of(side == mine).sizes
        if len(voxels) < 2:
            continue
        first_ml, second_ml = voxels[:2] * sample_ml
        other_ml = np.count_nonzero(side == other) * sample_ml
        if second_ml > max(other_ml, least_share * first_ml):
            yield (
                f"two separate lungs, {first_ml:.0f} and {second_ml:.0f} mL, are labelled {mine.name.lower()}, "
                f"and {other_ml:.0f} mL are labelled {other.name.lower()}",
                float(second_ml),
                _slices_of(side == mine, step),
            )


def _x_lps_mm(grid: Grid, step: Strides) -> NDArray[np.float64]:
    """LPS x of every sampled voxel."""
    per_axis = (
        np.arange(0, size, n) * mm for size, n, mm in zip(grid.shape_kji, step, grid.step_lps_mm[0], strict=True)
    )
    k, j, i = np.ix_(*per_axis)
    x_mm: NDArray[np.float64] = grid.origin_lps_mm[0] + k + j + i
    return x_mm
