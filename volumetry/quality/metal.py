"""Metal in the body, near enough to the lungs that its streaks can pass for ground glass.

Leads on the skin, the table, a watch on an arm beside the chest are not part of the body's outline: what is
counted lies inside the trunk, in an image with lung or close to one, and within ``metal_reach_mm`` of the lung.

Contrast that is not yet mixed with blood is as bright in arm veins and superior vena cava, and its streaks are
weaker: where the blood is enhanced and nearly all lies in large bodies that shade off into less, it is reported as
contrast.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetry.config import Config
from volumetry.domain import BODY_HU, CtScan, Finding, Tissue, TissueMap
from volumetry.image.coarse import Mask, block_mean, stride
from volumetry.image.morphology import opened_mm
from volumetry.quality.blood_pool import ENHANCED_HU
from volumetry.quality.places import images
from volumetry.quality.weight import weighed

_COARSE_MM = 2.0
_SKIN_MM = 4.0
"""What metal blurs over; an electrode on the skin, taken out with this rim, leaves a notch and no hole."""
_BRIDGE_MM = 5.0
"""Half-thickness of what is not trunk: table tops, cables, a fold of clothing that touches the skin."""
_TRUNK_SHARE = 0.25
"""Of the largest body in an image; an arm beside the chest has a tenth."""
_BEYOND_LUNG_MM = 10.0
"""Images so far above or below lung: streaks stay in their plane, a slice's thickness aside."""


_VEIN_HU, _VEIN_ML, _VEIN_SHARE = 1000.0, 3.0, 0.7
"""A vein of undiluted contrast is 3 mL and more above 1000 HU, of which less than this is as bright as metal:
0.48 and 0.15 in the two veins of one chest. A clip is smaller, and of a pacemaker's can nearly all is."""
_MOSTLY = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Metal:
    """What was found, per image that holds some.

    Parameters
    ----------
    ml
        Volume by slice index.
    nearest_mm
        Distance of the nearest to the lung, in the image plane.
    at_kji
        Its voxels, one a row.
    """

    ml: dict[int, float]
    nearest_mm: float
    at_kji: NDArray[np.intp]


def metal_findings(
    tissue: TissueMap, scan: CtScan, config: Config, blood_hu: float | None = None
) -> Iterator[Finding]:
    """A flag for metal of more than ``metal_ml``, with its place and what is called lesion in the same images.

    Undiluted contrast, which only enhanced blood allows, is a note under the default profile.
    """
    metal = metal_in_body(tissue, scan, config)
    ml = sum(metal.ml.values())
    if ml <= config.hounsfield.metal_ml:
        return
    lung = sum(np.count_nonzero(plane) for plane in tissue.labels_kji)
    lesion = sum(np.count_nonzero(tissue.labels_kji[k] > Tissue.AERATED) for k in metal.ml)
    voxel_ml = scan.grid.voxel_ml
    text = (
        f"{ml:.2f} mL of metal (above {config.hounsfield.metal_hu:g} HU) in the body, {metal.nearest_mm:.0f} mm "
        f"from the lung ({images(scan, metal.ml)}): look for streaks, which can resemble ground glass; "
        f"{lesion * voxel_ml:.0f} mL are labelled lesion in these images, "
        f"{100 * lesion / max(1, lung):.2f} points of the lesion percentage"
    )
    if blood_hu is not None and blood_hu >= ENHANCED_HU and _share_in_veins(metal, scan, config) >= _MOSTLY:
        yield weighed(config, "METAL", text.replace("of metal", "of undiluted contrast in veins", 1), ml, 0.0)
    else:
        yield Finding("METAL", config.outcome_of("METAL"), text, round(ml, 3))


def _share_in_veins(metal: Metal, scan: CtScan, config: Config) -> float:
    """How much of what was found lies in bodies that are veins of undiluted contrast."""
    dense, count = ndimage.label(scan.hu_kji > _VEIN_HU)
    voxel_ml = scan.grid.voxel_ml
    whole_ml = np.bincount(dense.ravel(), minlength=count + 1) * voxel_ml
    bright_ml = np.bincount(dense[scan.hu_kji > config.hounsfield.metal_hu], minlength=count + 1) * voxel_ml
    vein = (whole_ml >= _VEIN_ML) & (bright_ml < _VEIN_SHARE * whole_ml)
    return float(np.mean(vein[dense[tuple(metal.at_kji.T)]]))


def metal_in_body(tissue: TissueMap, scan: CtScan, config: Config) -> Metal:
    """Voxels above ``metal_hu`` inside the trunk and near the lung, slice by slice along the array's first axis.

    Parameters
    ----------
    tissue
        Any label above 0 is lung.
    """
    limit = config.hounsfield.metal_hu
    with_metal = [k for k, plane in enumerate(scan.hu_kji) if (plane > limit).any()]
    reach = int(_BEYOND_LUNG_MM / scan.grid.spacing_kji_mm[0])
    ml: dict[int, float] = {}
    nearest_mm = np.inf
    at = [np.zeros((0, 3), np.intp)]
    for k in with_metal:
        around = slice(max(0, k - reach), k + reach + 1)
        lung: Mask = np.any(tissue.labels_kji[around] > 0, axis=0)
        if not lung.any():
            continue
        distance_mm = _distances_mm(scan.hu_kji[k], lung, scan.grid.spacing_kji_mm[1:], limit)
        near = distance_mm <= config.hounsfield.metal_reach_mm
        if near.any():
            ml[k] = float(np.count_nonzero(near) * scan.grid.voxel_ml)
            nearest_mm = min(nearest_mm, float(distance_mm.min()))
            at.append(np.insert(np.argwhere(scan.hu_kji[k] > limit)[near], 0, k, axis=1))
    return Metal(ml, float(nearest_mm), np.concatenate(at))


def _distances_mm(
    hu: NDArray[np.float32], lung: Mask, spacing_mm: tuple[float, float], limit_hu: float
) -> NDArray[np.float64]:
    """How far from the lung each voxel of metal lies; infinite outside the trunk. One section."""
    step = [stride(mm, _COARSE_MM) for mm in spacing_mm]
    coarse_mm = (spacing_mm[0] * step[0], spacing_mm[1] * step[1])
    metal = hu > limit_hu
    in_plane = (1, step[0], step[1])
    blocks = [block_mean(v[None], in_plane, whole=True)[0] for v in (np.minimum(hu, 100.0), metal, lung)]
    trunk = _trunk(blocks[0], blocks[1] > 0, blocks[2] > 0, coarse_mm)
    distance_mm = ndimage.distance_transform_edt(blocks[2] == 0, sampling=coarse_mm)
    distance_mm[~trunk] = np.inf
    j, i = (
        np.minimum(index // n, size - 1)
        for index, n, size in zip(np.nonzero(metal), step, trunk.shape, strict=True)
    )
    found: NDArray[np.float64] = distance_mm[j, i]
    return found


def _trunk(hu: NDArray[np.float32], metal: Mask, lung: Mask, step_mm: tuple[float, float]) -> Mask:
    """The outline of the body without limbs, table and what lies on the skin, filled."""
    soft = hu > BODY_HU
    if metal.any():
        rim = ndimage.distance_transform_edt(~metal, sampling=step_mm) <= _SKIN_MM
        soft &= ~rim
        soft |= rim & ndimage.binary_fill_holes(
            soft
        )  # tissue all around: it lies in the body, however near the skin
    opened = opened_mm(np.pad(soft, 1)[None], _BRIDGE_MM, (1.0, *step_mm))[0, 1:-1, 1:-1]
    if not opened.any():
        return opened
    labels, _ = ndimage.label(opened | lung)
    filled = np.zeros_like(metal)
    sizes = np.bincount(labels.ravel())[1:]
    for label in np.flatnonzero(sizes >= _TRUNK_SHARE * sizes.max()) + 1:
        filled |= ndimage.binary_fill_holes(labels == label)
    return filled
