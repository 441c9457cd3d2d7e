"""Formulas against numerical integration, and the image against what it should hold."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from volumetry.domain import Grid, Side, Tissue
from volumetry.phantom import AXIAL, Lesion, PhantomSpec, make_phantom, rotated, tilted, truth_map, truth_of
from volumetry.phantom.anatomy import lung_ml, lungs_of, surroundings
from volumetry.phantom.shapes import Capsule, Ellipsoid, Lung, OvalColumn, Shape, boxes, coverage

_SMALL = PhantomSpec((64, 128, 128), (4.0, 2.5, 2.5))
_GROUND_GLASS = Lesion("ground_glass", (-80.3, 5.2, 10.1), (20.0, 21.0, 24.0))
_CORE = Lesion("solid", (-79.1, 6.4, 12.3), (9.0, 8.0, 10.0))


def _integrated_ml(shape: Shape, step_mm: float) -> float:
    """Midpoint rule on a lattice over the shape's bounds."""
    axes = [np.arange(low + step_mm / 2, high, step_mm) for low, high in zip(*shape.bounds_lps_mm, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    return float(np.count_nonzero(shape.field(*grid) < 0)) * step_mm**3 / 1000


def _covered_ml(shape: Shape, grid: Grid) -> float:
    return math.fsum(coverage(shape, grid, box).sum(dtype=float) for box in boxes(shape, grid)) * grid.voxel_ml


def test_integrator_knows_the_ellipsoid():
    """Its error on a body whose formula nobody doubts: below 0.02 % at the size of a lung."""
    body = Ellipsoid((0.3, 0.2, 0.1), (45.0, 75.0, 100.0))
    assert _integrated_ml(body, 1.0) == pytest.approx(4 / 3 * math.pi * 45 * 75 * 100 / 1000, rel=2e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("breath", [0.6, 1.0])
def test_bent_lung_has_the_volume_of_the_straight_one(side, breath):
    lung = lungs_of(breath, (1.0, 1.0, 1.0))[side]
    assert _integrated_ml(lung, 1.0) == pytest.approx(lung_ml(side, breath, (1.0, 1.0, 1.0)), rel=5e-4)


def test_straight_lung_of_equal_radii_is_the_textbook_superellipsoid():
    """|x|^3 + |y|^3 + |z|^3 < 1 holds 8 Gamma(4/3)^3 / Gamma(2); Gamma(4/3) is 0.8929795116 in tables."""
    lung = Lung(1, (0, 0, 0), (10, 10), (10, 10), (10, 10), bend_mm=0, dome_mm=0, lean=0)
    formula = 8 * 0.8929795116**3
    assert lung.volume_ml == pytest.approx(formula, rel=1e-8)
    assert _integrated_ml(lung, 0.1) == pytest.approx(formula, rel=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("breath", [0.5, 1.0, 1.2])
def test_bounds_hold_the_lung(side, breath):
    """Nothing of the lung on or beyond any face of its box."""
    lung = lungs_of(breath, (1.0, 1.0, 1.0))[side]
    low, high = np.array(lung.bounds_lps_mm)
    axes = [np.linspace(a - 30, b + 30, 101) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    within = points[lung.field(*points.T) < 0]
    assert len(within) > 1000
    assert (within > low).all()
    assert (within < high).all()


def test_lungs_do_not_meet():
    left, right = lungs_of(1.0, (1.0, 1.0, 1.0)).values()
    assert right.bounds_lps_mm[0][0] < 0 < left.bounds_lps_mm[1][0]
    x, y, z = np.meshgrid(np.linspace(-130, 130, 131), np.linspace(-80, 80, 81), np.linspace(-130, 130, 131))
    assert not ((left.field(x, y, z) < 0) & (right.field(x, y, z) < 0)).any()


@pytest.mark.parametrize("spacing", [(0.6, 0.7, 0.7), (2.5, 0.7, 0.9), (5.0, 0.8, 0.8)])
@pytest.mark.parametrize("axes", [AXIAL, tilted(15.0), rotated(20.0)])
def test_partial_volume_sums_to_the_formula(spacing, axes):
    """A 10 mL sphere: grey values add up to the volume within 0.3 %, whatever the grid."""
    radius = (10_000 * 3 / 4 / math.pi) ** (1 / 3)
    shape = tuple(math.ceil(60 / step) for step in spacing)
    middle = Grid(shape, spacing, (0, 0, 0), axes).lps_mm(np.asarray(shape) / 2)
    grid = Grid(shape, spacing, tuple(0.37 - middle), axes)
    assert _covered_ml(Ellipsoid((0, 0, 0), (radius,) * 3), grid) == pytest.approx(10.0, rel=3e-3)


def test_thin_vessel_is_not_lost_between_voxels():
    """A tube thinner than a voxel still adds its volume: pi r^2 L and the two half balls."""
    tube = Capsule((-20.3, 0.4, 1.1), (20.1, 3.3, 8.2), 0.8)
    length = math.dist(tube.start_lps_mm, tube.end_lps_mm)
    formula = (math.pi * 0.8**2 * length + 4 / 3 * math.pi * 0.8**3) / 1000
    grid = Grid((20, 40, 60), (2.5, 1.0, 1.0), (-30, -20, -20))
    assert _covered_ml(tube, grid) == pytest.approx(formula, rel=0.03)


def test_column_stands_where_it_is_cut_by_the_grid():
    grid = Grid((4, 50, 50), (2.0, 1.0, 1.0), (-24.5, -24.5, 100.0))
    column = OvalColumn((0.0, 0.0, 0.0), (10.0, 15.0), 1000.0)
    assert _covered_ml(column, grid) == pytest.approx(math.pi * 10 * 15 * 8 / 1000, rel=3e-3)


def test_plain_image_holds_the_stated_hu():
    spec = replace(_SMALL, lesions=(_GROUND_GLASS, _CORE), noise_hu=0, blur_mm=0, texture_hu=0, vessels=False)
    phantom = make_phantom(spec)
    found = {float(value) for value in np.unique(phantom.hu_kji[:, ::2, ::2].round(3))}
    assert {-1000.0, -850.0, -600.0, 40.0, 50.0, -100.0} <= found
    labels = truth_map(spec).labels_kji
    assert np.median(phantom.hu_kji[labels == Tissue.AERATED]) == -850
    assert np.median(phantom.hu_kji[labels == Tissue.GROUND_GLASS]) == -600
    assert np.median(phantom.hu_kji[labels == Tissue.SOLID]) == 40
    assert phantom.hu_kji[0, 0, 0] == -1000


def test_noise_and_texture_have_the_asked_strength():
    spec = replace(_SMALL, noise_hu=30.0, texture_hu=0.0, blur_mm=0.0, vessels=False)
    noise = make_phantom(spec).hu_kji - make_phantom(replace(spec, noise_hu=0.0)).hu_kji
    assert noise.std() == pytest.approx(30.0, rel=0.01)
    assert abs(noise.mean()) < 0.2
    bare = make_phantom(replace(spec, noise_hu=0.0)).hu_kji
    mottle = make_phantom(replace(spec, noise_hu=0.0, texture_hu=20.0)).hu_kji - bare
    deep = bare == -850
    assert mottle[deep].std() == pytest.approx(20.0, rel=0.1)
    assert not mottle[bare == 50].any()


def test_blur_keeps_the_total():
    """Hounsfield units times volume are conserved, as by any kernel with unit gain."""
    spec = replace(_SMALL, noise_hu=0.0, texture_hu=0.0, table=False)
    sharp, soft = (make_phantom(replace(spec, blur_mm=blur)).hu_kji for blur in (0.0, 2.0))
    inner = np.s_[8:-8, 16:-16, :]
    assert (soft[inner] - sharp[inner]).mean() == pytest.approx(0.0, abs=1.0)
    assert soft.std() < sharp.std()


def test_vessels_stay_in_the_lungs():
    spec = replace(_SMALL, noise_hu=0.0, texture_hu=0.0, blur_mm=0.0)
    changed = make_phantom(spec).hu_kji != make_phantom(replace(spec, vessels=False)).hu_kji
    lung = truth_map(spec).labels_kji > 0
    assert changed[lung].mean() > 0.01
    assert np.count_nonzero(changed & ~lung) < 0.25 * np.count_nonzero(changed & lung)  # hila, and borders


def test_gas_outside_the_lungs_is_no_lung():
    """Trachea, main bronchi and the gas in the stomach are air in the image and outside in the truth."""
    spec = replace(_SMALL, noise_hu=0.0, blur_mm=0.0, texture_hu=0.0)
    phantom = make_phantom(spec)
    away_from_lung = ~binary_dilation(truth_map(spec).labels_kji > 0, np.ones((3, 3, 3)))
    gases = [shape for hu, shape in surroundings(1.0, spec.scale_lps, 45.0, False, False) if hu == -1000]
    assert len(gases) == 4
    for shape in gases:
        for box in boxes(shape, spec.grid):
            core = coverage(shape, spec.grid, box) == 1
            free = core & away_from_lung[box]
            assert (phantom.hu_kji[box][free] == -1000).all()
            assert free.sum() >= 0.6 * core.sum()


def test_sides_come_from_the_coordinates():
    truth = truth_map(_SMALL)
    index = np.argwhere(truth.side_kji == Side.LEFT)
    assert (truth.grid.lps_mm(index.astype(float))[:, 0] > 0).all()


def test_truth_of_nested_lesions_adds_up():
    truth = truth_of(replace(_SMALL, lesions=(_CORE, _GROUND_GLASS)))
    ball = 4 / 3 * math.pi / 1000
    assert truth["solid_ml"] == pytest.approx(ball * 9 * 8 * 10)
    assert truth["ground_glass_ml"] == pytest.approx(ball * (20 * 21 * 24 - 9 * 8 * 10))
    assert truth["aerated_ml"] + truth["lesion_ml"] == pytest.approx(truth["lung_ml"])
    assert truth["left_ml"] + truth["right_ml"] == pytest.approx(truth["lung_ml"])
    assert [one["side"] for one in truth["lesions"]] == ["right", "right"]


@pytest.mark.parametrize(
    ("lesions", "says"),
    [
        ((Lesion("solid", (0, 0, 0), (10, 10, 10)),), "not inside one lung"),
        ((Lesion("solid", (-110, 0, 0), (20, 20, 20)),), "not inside one lung"),
        ((_GROUND_GLASS, replace(_GROUND_GLASS, centre_lps_mm=(-78.0, 20.0, 10.0))), "touch"),
        ((_GROUND_GLASS, replace(_CORE, centre_lps_mm=(-80.0, 27.0, 10.0))), "touch"),
    ],
)
def test_lesions_whose_volume_would_be_a_guess_are_refused(lesions, says):
    with pytest.raises(ValueError, match=says):
        replace(_SMALL, lesions=lesions)


def test_cut_lungs_must_be_wanted():
    with pytest.raises(ValueError, match="does not fit"):
        PhantomSpec((40, 128, 128), (4.0, 2.5, 2.5))
    assert PhantomSpec((40, 128, 128), (4.0, 2.5, 2.5), allow_cut=True).grid.shape_kji == (40, 128, 128)


@pytest.mark.parametrize(
    "wrong", [{"breath": 0.1}, {"scale_lps": (0.0, 1.0, 1.0)}, {"noise_hu": -1.0}, {"blur_mm": -0.1}]
)
def test_impossible_wishes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|cannot be"):
        replace(_SMALL, **wrong)


def test_lesion_needs_a_size():
    with pytest.raises(ValueError, match="positive radii"):
        Lesion("solid", (0, 0, 0), (1.0, 0.0, 1.0))


def test_same_spec_same_image_other_seed_other_noise():
    first, again = make_phantom(_SMALL).hu_kji, make_phantom(_SMALL).hu_kji
    assert np.array_equal(first, again)
    other = make_phantom(replace(_SMALL, seed=1)).hu_kji
    assert np.corrcoef((first - other)[0].ravel(), first[0].ravel())[0, 1] > 0.01
    assert not np.array_equal(first, other)


def test_breath_moves_the_diaphragm_and_not_the_apex():
    deep, shallow = (lungs_of(breath, (1.0, 1.0, 1.0))["left"] for breath in (1.0, 0.7))
    assert lung_ml("left", 0.7, (1, 1, 1)) == pytest.approx(0.7 * lung_ml("left", 1.0, (1, 1, 1)))
    x, y, z = np.meshgrid(np.linspace(10, 130, 61), np.linspace(-80, 80, 41), np.linspace(-130, 130, 261))
    top_and_base = [
        (z[lung.field(x, y, z) < 0].max(), z[lung.field(x, y, z) < 0].min()) for lung in (deep, shallow)
    ]
    assert top_and_base[0][0] == pytest.approx(top_and_base[1][0], abs=2.0)
    assert top_and_base[1][1] > top_and_base[0][1] + 40
