"""Chest-like digital reference objects: CT images whose volumes are known from formulas.

The scene is drawn in patient coordinates and then sampled on any grid, so every grid has the same truth. Order
matters: lungs are painted over everything in the mediastinum and the chest wall, so nothing cuts into them and
their volume is the formula's; lesions are painted over lung and vessels, so theirs is too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from skimage.filters import gaussian

from volumetry.domain import Grid, Side, Tissue, TissueMap
from volumetry.phantom.anatomy import (
    AIR_HU,
    GROUND_GLASS_HU,
    LUNG_HU,
    SOLID_HU,
    VESSEL_HU,
    lung_ml,
    lungs_of,
    surroundings,
    vessels,
)
from volumetry.phantom.shapes import Floats, Scaled, Shape, boxes, coverage, inside
from volumetry.phantom.spec import Lesion, PhantomSpec, side_of, within


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """An image and what is true of it.

    Parameters
    ----------
    hu_kji
        HU, float32 on `grid`; neither rounded nor clipped.
    grid
        Where the voxels are.
    truth
        Volumes in mL and shares in percent; see `truth_of`.
    spec
        What it was made from.
    """

    hu_kji: Floats
    grid: Grid
    truth: dict[str, Any] = field(repr=False)
    spec: PhantomSpec


def make_phantom(spec: PhantomSpec) -> Phantom:
    """Draw a chest.

    Parameters
    ----------
    spec
        What to draw.

    Returns
    -------
    Phantom
        The same spec gives the same image, voxel for voxel, with the same numpy and scikit-image.

    Examples
    --------
    >>> small = PhantomSpec((64, 128, 128), (4.0, 2.5, 2.5), (Lesion("solid", (-80.3, 5.2, 10.1), (12, 12, 12)),))
    >>> round(make_phantom(small).truth["solid_ml"], 3)
    7.238
    """
    grid = spec.grid
    hu_kji = np.full(grid.shape_kji, AIR_HU, np.float32)
    texture_kji = _mottle(spec, grid) if spec.texture_hu else None
    lungs = lungs_of(spec.breath, spec.scale_lps)
    for value, shape in surroundings(spec.breath, spec.scale_lps, spec.blood_hu, spec.ribs, spec.table):
        _paint(hu_kji, grid, shape, value)
    for lung in lungs.values():
        _paint(hu_kji, grid, lung, LUNG_HU, texture_kji)
    del texture_kji
    for vessel in vessels(spec.breath, spec.scale_lps, spec.seed) if spec.vessels else ():
        _paint(hu_kji, grid, vessel, VESSEL_HU)
    for lesion in sorted(spec.lesions, key=lambda one: one.kind):  # ground glass first, its solid core over it
        _paint(hu_kji, grid, lesion.shape, SOLID_HU if lesion.kind == "solid" else GROUND_GLASS_HU)
    if spec.blur_mm:
        sigma = [spec.blur_mm / step for step in spec.spacing_kji_mm]
        hu_kji = gaussian(hu_kji, sigma, mode="nearest", preserve_range=True, truncate=3.0)
    _add_noise(hu_kji, spec)
    return Phantom(hu_kji, grid, truth_of(spec), spec)


def truth_of(spec: PhantomSpec) -> dict[str, Any]:
    """What is true of a phantom, from formulas alone: ready for ``truth.json``.

    Keys follow ``result.json`` where they mean the same. Volumes in mL, shares in percent of the lung. Lung is
    both lungs with their vessels and lesions, without trachea and main bronchi.

    Parameters
    ----------
    spec
        The phantom.

    Returns
    -------
    dict[str, Any]
        Volumes in mL, shares in percent, each lesion, and the formulas.
    """
    lungs = lungs_of(spec.breath, spec.scale_lps)
    side_ml = {name: lung_ml(name, spec.breath, spec.scale_lps) for name in lungs}
    lesions = [_lesion_truth(lesion, spec.lesions, lungs) for lesion in spec.lesions]
    ml = {
        "ground_glass": math.fsum(one["ml"] for one in lesions if one["kind"] == "ground_glass"),
        "solid": math.fsum(one["ml"] for one in lesions if one["kind"] == "solid"),
    }
    ml["lesion"] = ml["ground_glass"] + ml["solid"]
    whole_ml = side_ml["left"] + side_ml["right"]
    return {
        "lung_ml": whole_ml,
        "left_ml": side_ml["left"],
        "right_ml": side_ml["right"],
        "aerated_ml": whole_ml - ml["lesion"],
        "ground_glass_ml": ml["ground_glass"],
        "solid_ml": ml["solid"],
        "lesion_ml": ml["lesion"],
        "percent_of_lung": {name: 100 * value / whole_ml for name, value in ml.items()},
        "lesions": lesions,
        "formulas": {
            "lung": "8 Gamma(4/3)^3 / Gamma(2) a b c: superellipsoid of power 3 bent by shears of Jacobian 1",
            "lesion": "4/3 pi a b c: ellipsoid; a ground-glass one less the solid cores inside it",
        },
    }


def truth_map(spec: PhantomSpec) -> TissueMap:
    """The tissue at every voxel centre: the answer of a perfect segmenter on this grid.

    Parameters
    ----------
    spec
        The phantom.

    Returns
    -------
    TissueMap
        Labels, uint8 (k, j, i), with sides.
    """
    grid = spec.grid
    labels_kji = np.zeros(grid.shape_kji, np.uint8)
    side_kji = np.zeros(grid.shape_kji, np.uint8)
    for name, lung in lungs_of(spec.breath, spec.scale_lps).items():
        for box in boxes(lung, grid):
            within = inside(lung, grid, box)
            labels_kji[box][within] = Tissue.AERATED
            side_kji[box][within] = Side.LEFT if name == "left" else Side.RIGHT
    for lesion in sorted(spec.lesions, key=lambda one: one.kind):
        for box in boxes(lesion.shape, grid):
            label = Tissue.SOLID if lesion.kind == "solid" else Tissue.GROUND_GLASS
            labels_kji[box][inside(lesion.shape, grid, box)] = label
    return TissueMap(labels_kji, grid, side_kji)


def _paint(hu_kji: Floats, grid: Grid, shape: Shape, value: float, texture_kji: Floats | None = None) -> None:
    """Mix a value into the image in proportion to the share of each voxel that the shape covers."""
    for box in boxes(shape, grid):
        cover = coverage(shape, grid, box)
        below = hu_kji[box]
        wanted = np.float32(value) if texture_kji is None else np.float32(value) + texture_kji[box]
        below += cover * (wanted - below)


def _mottle(spec: PhantomSpec, grid: Grid) -> Floats:
    """Smooth random field of the wished standard deviation, about 2 mm coarse, the same slice by slice."""
    texture_kji = np.empty(grid.shape_kji, np.float32)
    sigma = [2.0 / step for step in spec.spacing_kji_mm[1:]]
    kept = math.exp(-spec.spacing_kji_mm[0] / 4.0)  # correlation from slice to slice
    previous = np.zeros(grid.shape_kji[1:], np.float32)
    for k in range(grid.shape_kji[0]):
        fresh = _plane(spec, (k, 2), grid.shape_kji[1:], sigma)
        previous = fresh if k == 0 else kept * previous + math.sqrt(1 - kept**2) * fresh
        texture_kji[k] = spec.texture_hu * previous
    return texture_kji


def _add_noise(hu_kji: Floats, spec: PhantomSpec) -> None:
    if spec.noise_hu:
        for k, plane in enumerate(hu_kji):
            plane += spec.noise_hu * _plane(spec, (k, 3), plane.shape, [0.6, 0.6])


def _plane(spec: PhantomSpec, key: tuple[int, int], shape: tuple[int, ...], sigma: list[float]) -> Floats:
    """Correlated noise of mean 0 and standard deviation 1, seeded by slice."""
    rng = np.random.default_rng([spec.seed, *key])
    noise: Floats = gaussian(rng.standard_normal(shape, np.float32), sigma, mode="wrap", preserve_range=True)
    return noise / np.float32(max(float(noise.std()), 1e-6))


def _lesion_truth(lesion: Lesion, every: tuple[Lesion, ...], lungs: Mapping[str, Scaled]) -> dict[str, Any]:
    cores_ml = math.fsum(other.shape.volume_ml for other in every if within(other, lesion))
    return {
        "kind": lesion.kind,
        "side": side_of(lesion, lungs),
        "ml": lesion.shape.volume_ml - cores_ml,
        "centre_lps_mm": list(lesion.centre_lps_mm),
        "radii_mm": list(lesion.radii_mm),
    }
