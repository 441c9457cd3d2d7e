"""A chest from its files: which regions each voxel may lie in, as labels, contours and thresholds say."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from volumetry.config import load_config
from volumetry.domain import CtScan, Vector
from volumetry.errors import ConfigError, InputError
from volumetry.image.orientation import AxialView, axial_view
from volumetry.segment.resampling import shrink
from volumetry.segment.thorax import AIR_HU, coarse_shape
from volumetry.training.scan_list import read_listed, read_volume_on
from volumetry.training.thorax import truth
from volumetry.training.thorax.chests import Chest
from volumetry.training.thorax.config import ChestFile, ThoraxConfig
from volumetry.training.threshold_lungs import body_and_airway, threshold_lungs

CLOSING_MM = 7.0
"""Vessels and fissures are lung."""
FINE_MM = 1.4
"""Pixels fine enough to find lungs and airways in."""
MISSED_MM = 25.0
"""In a diseased lung, what a closing by this much adds may be lung or not."""
AIRWAY_RADIUS_MM = 3.0
"""Airways that this fits into, walls and all, are main bronchi and trachea; smaller ones may count as lung."""
NO_AIRWAY_ABOVE_HU = -300.0
AIR_VOXELS = 6
"""Air put beside a chest that was cropped to the body."""
WALL_FROM = 0.4
"""Share of the lungs' height, from below, above which nothing but lung and mediastinum lies between the ribs."""
HULL_MARGIN_MM = 8.0


def read_chest(spec: ChestFile, root: Path, config: ThoraxConfig) -> Chest:
    """A chest from its files.

    Raises
    ------
    InputError
        If a file is missing or not on its image's grid.
    """
    scan = read_listed(root / spec.image, load_config())
    view = axial_view(scan.grid)
    hu, spacing = _not_finer(view, scan, whole=bool(spec.lungs or spec.organs or spec.tumour))
    body, airway = body_and_airway(hu, spacing, spec.thin_mm)
    native = _known(spec, root, scan, view, body)
    lung = native == truth.LUNG
    if not spec.lungs:
        lung = threshold_lungs(hu, spacing, spec.thin_mm)
        native[lung] = truth.LUNG
    _set_airway(native, airway, spacing)

    shape = coarse_shape(hu.shape, spacing, config.data.stored_mm)
    k_mm, j_mm, i_mm = (mm * n / m for mm, n, m in zip(spacing, hu.shape, shape, strict=True))
    coarse = (k_mm, j_mm, i_mm)
    regions, share = _majority(native, shape), shrink((native == truth.LUNG).astype(np.float32), shape)
    coarse_hu = shrink(hu, shape)
    if airway.any():
        # Growing may stop early, and what is left is as dark as air; what is dense is no airway.
        regions[(regions == truth.NO_LUNG) & (coarse_hu > NO_AIRWAY_ABOVE_HU)] &= truth.UNKNOWN & ~truth.AIRWAY
    if not spec.lungs:
        _close(regions, coarse, spec.diseased)
    _narrow(regions, coarse)
    share = np.where(regions == truth.LUNG, share, np.minimum(share, 0.5))
    box = _box(shrink(body.astype(np.float32), shape) > 0.1)
    return Chest(
        spec.name,
        _with_air_beside(coarse_hu[box], AIR_HU),
        _with_air_beside(regions[box], truth.BODY),
        _with_air_beside(share[box], 0),
        coarse,
    )


def _not_finer(view: AxialView, scan: CtScan, whole: bool) -> tuple[NDArray[np.float32], Vector]:
    """Axial HU and spacing; small pixels are averaged unless the `whole` grid is needed for labels."""
    hu = view.of(scan.hu_kji)
    k, j, i = view.spacing_mm(scan.grid)
    if whole or min(j, i) > FINE_MM:
        return hu, (k, j, i)
    _, rows, columns = coarse_shape(hu.shape, (k, j, i), FINE_MM)
    return shrink(hu, (len(hu), rows, columns)), (k, j * hu.shape[1] / rows, i * hu.shape[2] / columns)


def _known(
    spec: ChestFile, root: Path, scan: CtScan, view: AxialView, body: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Sets of regions on the scan's own axial grid, as far as files say."""

    def stored(name: str) -> NDArray[Any]:
        return view.of(read_volume_on(root / name, scan.grid))

    known = np.full(body.shape, truth.NO_LUNG, np.uint8)
    if spec.organs:
        if spec.scheme not in truth.SCHEMES:
            message = f"{spec.name}: scheme {spec.scheme!r} is not one of {sorted(truth.SCHEMES)}"
            raise ConfigError(message, hint="Compare the file with configs/train-thorax3d.toml.")
        organs = stored(spec.organs)
        for number, regions in truth.SCHEMES[spec.scheme].items():
            known[organs == number] = regions
    known[~body] = truth.BODY
    if spec.lungs:
        lungs = stored(spec.lungs)
        if spec.lungs_above:
            known[lungs > spec.lungs_above] = truth.LUNG
        else:
            unlabelled = (known == truth.NO_LUNG) | (known == truth.TOTALSEGMENTATOR[0])
            known[(lungs == 1) & (unlabelled | (known & truth.LUNG > 0))] = truth.LUNG
            known[lungs == 255] = truth.UNKNOWN
    if spec.tumour:
        _set_tumour(known, stored(spec.tumour) >= spec.tumour_from)
    return known


def _set_tumour(known: NDArray[np.uint8], tumour: NDArray[np.bool_]) -> None:
    """A tumour that touches lung is lung; of any other body that was drawn nothing is known, nor of a node."""
    bodies, _ = ndimage.label(tumour)
    beside = ndimage.binary_dilation(known == truth.LUNG)
    touching = np.unique(bodies[beside & tumour])
    known[tumour] = truth.UNKNOWN
    known[np.isin(bodies, touching[touching > 0])] = truth.LUNG


def _set_airway(known: NDArray[np.uint8], airway: NDArray[np.bool_], spacing_kji_mm: Vector) -> None:
    """Trachea and main bronchi are airway; smaller bronchi airway or lung."""
    inside = ndimage.distance_transform_edt(airway, sampling=spacing_kji_mm) > 2 * AIRWAY_RADIUS_MM
    wide = ndimage.distance_transform_edt(~inside, sampling=spacing_kji_mm) <= 2 * AIRWAY_RADIUS_MM
    known[airway] = truth.AIRWAY | truth.LUNG
    known[airway & wide] = truth.AIRWAY


def _majority(native: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The set that most of each coarse voxel has."""
    best, found = np.full(shape, -1.0, np.float32), np.zeros(shape, np.uint8)
    for regions in np.unique(native):
        share = shrink((native == regions).astype(np.float32), shape)
        more = share > best
        best[more], found[more] = share[more], regions
    return found


def _close(regions: NDArray[np.uint8], spacing_kji_mm: Vector, diseased: bool) -> None:
    """Lungs by threshold are closed; in a diseased chest a wider closing says what is not known."""
    lung, airway = regions == truth.LUNG, (regions & truth.AIRWAY > 0) & (regions & truth.BODY == 0)
    if diseased:
        regions[_closed(lung, MISSED_MM, spacing_kji_mm) & ~lung & ~airway] = truth.UNKNOWN
    regions[_closed(lung, CLOSING_MM, spacing_kji_mm) & ~airway] = truth.LUNG


def _closed(mask: NDArray[np.bool_], radius_mm: float, spacing_kji_mm: Vector) -> NDArray[np.bool_]:
    margin = int(np.ceil(radius_mm / min(spacing_kji_mm))) + 1
    padded = np.pad(mask, margin)
    grown = ndimage.distance_transform_edt(~padded, sampling=spacing_kji_mm) <= radius_mm
    shrunk: NDArray[np.bool_] = ndimage.distance_transform_edt(grown, sampling=spacing_kji_mm) > radius_mm
    inner = slice(margin, -margin)
    return shrunk[inner, inner, inner]


def _narrow(regions: NDArray[np.uint8], spacing_kji_mm: Vector) -> None:
    """What the lungs' outline says: in the upper chest, outside of it is chest wall, and no abdomen is there."""
    lung = regions == truth.LUNG
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    if not slices.size:
        raise InputError("no lung in a chest that is to be learned from")
    first = int(slices[0] + WALL_FROM * (slices[-1] - slices[0]))
    upper = regions[first:]
    narrower = upper & (truth.UNKNOWN & ~truth.ABDOMEN)
    regions[first:] = np.where((upper == truth.UNKNOWN) | (narrower == 0), upper, narrower)
    for k in range(first, slices[-1] + 1):
        if lung[k].any():
            hull = convex_hull_image(lung[k])
            outside = ndimage.distance_transform_edt(~hull, sampling=spacing_kji_mm[1:]) > HULL_MARGIN_MM
            wall = outside & (regions[k] & truth.BODY > 0) & (regions[k] != truth.UNKNOWN)
            regions[k][wall] = truth.BODY


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Everything in k; in the plane a box around the mask."""
    rows, columns = (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    return slice(None), slice(max(rows[0] - 2, 0), rows[-1] + 3), slice(max(columns[0] - 2, 0), columns[-1] + 3)


def _with_air_beside(values_kji: NDArray[Any], air: float) -> NDArray[Any]:
    """Some air in the plane, as scans have that are not cropped to the body."""
    return np.pad(values_kji, ((0, 0), (AIR_VOXELS,) * 2, (AIR_VOXELS,) * 2), constant_values=air)
