"""Lobes of drawn lungs: fissures are found where they were drawn, and every voxel is in one lobe of its lung."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scenes import scan_of

from volumetry.domain import (
    CODES,
    LOBES,
    Grid,
    Lobe,
    LobeMap,
    NoLobes,
    Side,
    Tissue,
    TissueMap,
    lobe_table,
    place_code,
)
from volumetry.segment.lobes import divide
from volumetry.segment.lobes.surface import beliefs, low_order, moments

GRID = Grid((112, 88, 130), (2.0, 2.0, 2.0), origin_lps_mm=(-129.0, -87.0, -111.0))
CENTRES_X_MM = {Side.LEFT: 62.0, Side.RIGHT: -62.0}
RADII_ZYX_MM = (105.0, 82.0, 55.0)


def _positions():
    """x, y, z of every voxel, in mm."""
    at = GRID.lps_mm(np.stack(np.indices(GRID.shape_kji), axis=-1).astype(float))
    return at[..., 0], at[..., 1], at[..., 2]


def drawn_fissures(shift_mm=0.0):
    """Height above each drawn fissure, in mm: planes at 50 degrees, and a bowl that is level in the middle."""
    x, y, z = _positions()
    oblique = (z - 1.2 * y + 10.0 - shift_mm) / np.hypot(1, 1.2)
    lateral = -x - 62.0
    horizontal = z - 5.0 + 0.0008 * (lateral**2 + y**2)
    return oblique, horizontal


@cache
def _drawn(shift_mm=0.0, *, vessels=True, sheet_hu=-700.0):
    """HU, sides and true lobes of two ellipsoid lungs: vessels except near the fissures, and sheets in these."""
    x, y, z = _positions()
    generator = np.random.default_rng(20)
    hu = np.full(GRID.shape_kji, 40.0, np.float32)
    side = np.zeros(GRID.shape_kji, np.uint8)
    lobes = np.zeros(GRID.shape_kji, np.uint8)
    oblique, horizontal = drawn_fissures(shift_mm)
    ends = generator.random(GRID.shape_kji) < 0.05 if vessels else np.zeros(GRID.shape_kji, bool)
    for mine, centre in CENTRES_X_MM.items():
        inside = (z / RADII_ZYX_MM[0]) ** 2 + (y / RADII_ZYX_MM[1]) ** 2 + (
            (x - centre) / RADII_ZYX_MM[2]
        ) ** 2 < 1
        side[inside] = mine
        near = np.abs(oblique)
        lobe = np.where(oblique > 0, Lobe.LEFT_UPPER, Lobe.LEFT_LOWER)
        if mine == Side.RIGHT:
            near = np.where(oblique > 0, np.minimum(near, np.abs(horizontal)), near)
            upper = np.where(horizontal > 0, Lobe.RIGHT_UPPER, Lobe.RIGHT_MIDDLE)
            lobe = np.where(oblique > 0, upper, Lobe.RIGHT_LOWER)
        lobes[inside] = lobe[inside]
        hu[inside] = -870
        hu[inside & (near < 1.0)] = sheet_hu
        hu[inside & ends & (near > 7.0)] = -100
    hu += generator.normal(0, 15, hu.shape).astype(np.float32)
    return hu, side, lobes


def drawn_lungs(shift_mm=0.0, *, vessels=True, sheet_hu=-700.0):
    """Arrays of their own, for a test to change."""
    return tuple(array.copy() for array in _drawn(shift_mm, vessels=vessels, sheet_hu=sheet_hu))


def divided(hu, side, grid=GRID, lesion=None):
    labels = (side > 0).astype(np.uint8)
    if lesion is not None:
        labels[lesion & (side > 0)] = Tissue.GROUND_GLASS
    return divide(TissueMap(labels, grid, side), scan_of(hu, grid))


def lobes_of(result):
    """The lobe of every voxel."""
    return lobe_table()[result.codes_kji]


@pytest.fixture(scope="module")
def found():
    hu, side, lobes = drawn_lungs()
    return divided(hu, side), side, lobes


def test_drawn_fissures_are_found_within_two_millimetres(found):
    result, side, lobes = found
    assert result.method == "fissures"
    assert set(result.doubt_mm) == {"left_oblique", "right_oblique", "right_horizontal"}
    oblique, horizontal = drawn_fissures()
    wrong = lobes_of(result) != lobes
    nearest = np.where((side == Side.RIGHT) & (oblique > 0), np.abs(horizontal), np.inf)
    assert np.percentile(np.minimum(np.abs(oblique), nearest)[wrong], 90) < 2.0
    assert wrong[side > 0].mean() < 0.01


@pytest.mark.parametrize("shift_mm", [-18.0, 18.0])
def test_a_fissure_far_from_the_mean_is_found(shift_mm):
    hu, side, lobes = drawn_lungs(shift_mm)
    result = divided(hu, side)
    left = side == Side.LEFT
    assert (lobes_of(result) != lobes)[left].mean() < 0.01


def test_every_voxel_of_a_lung_is_in_one_lobe_of_that_lung(found):
    result, side, _ = found
    lobes = lobes_of(result)
    assert set(np.unique(lobes[side == Side.LEFT])) == {Lobe.LEFT_UPPER, Lobe.LEFT_LOWER}
    right = {Lobe.RIGHT_UPPER, Lobe.RIGHT_MIDDLE, Lobe.RIGHT_LOWER}
    assert set(np.unique(lobes[side == Side.RIGHT])) == right
    assert not lobes[side == Side.NONE].any()
    counted = np.bincount(lobes.ravel(), minlength=len(Lobe))
    assert counted[1:].sum() == np.count_nonzero(side)


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (True, False, False)), ((2, 0, 1), (False, True, True)), ((1, 2, 0), (True, True, False))],
)
def test_lobes_follow_the_patient_and_not_the_array(found, axes, flips):
    hu, side, _ = drawn_lungs()
    mirror = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    direction = np.asarray(GRID.direction_lps)
    corner = [n - 1 if flip else 0 for n, flip in zip(GRID.shape_kji, flips, strict=True)]
    origin = GRID.lps_mm(np.array(corner, float))
    steps = direction * np.where(flips, -1, 1)[:, None]
    grid = Grid(
        tuple(GRID.shape_kji[axis] for axis in axes),
        tuple(GRID.spacing_kji_mm[axis] for axis in axes),
        tuple(map(float, origin)),
        tuple(tuple(map(float, steps[axis])) for axis in axes),
    )
    turned = [np.ascontiguousarray(array[mirror].transpose(axes)) for array in (hu, side)]
    result = divided(*turned, grid)
    assert np.array_equal(result.codes_kji, found[0].codes_kji[mirror].transpose(axes))


def test_the_same_lobes_with_one_thread_and_with_many():
    program = (
        "import hashlib, sys; sys.path.insert(0, 'tests/unit'); sys.path.insert(0, 'tests');"
        "from test_lobes import divided, drawn_lungs; hu, side, _ = drawn_lungs();"
        "print(hashlib.sha256(divided(hu, side).codes_kji.tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run(  # noqa: S603
            [sys.executable, "-c", program],
            env={"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n, "PATH": ""},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for n in ("1", "4")
    }
    assert len(digests) == 1


def test_without_fissure_and_vessels_the_lobes_are_approximate_and_doubtful(found):
    hu, side, _ = drawn_lungs(vessels=False, sheet_hu=-870.0)
    result = divided(hu, side)
    assert result.method == "approximate"
    assert "left oblique fissure" in " ".join(result.reasons)
    assert min(result.doubt_mm.values()) > max(found[0].doubt_mm.values())


def test_thick_slices_are_approximate():
    hu, side, _ = drawn_lungs()
    grid = replace(GRID, shape_kji=(56, *GRID.shape_kji[1:]), spacing_kji_mm=(4.0, 2.0, 2.0))
    result = divided(hu[::2].copy(), side[::2].copy(), grid)
    assert result.method == "approximate"
    assert "4.0 mm apart" in result.reasons[0]


def test_a_diseased_lung_is_approximate():
    hu, side, _ = drawn_lungs()
    result = divided(hu, side, lesion=np.arange(GRID.shape_kji[0])[:, None, None] < 50)
    assert result.method == "approximate"
    assert "diseased" in result.reasons[0]


def test_a_lung_cut_by_the_end_of_the_scan_is_approximate():
    hu, side, _ = drawn_lungs()
    grid = replace(GRID, shape_kji=(76, *GRID.shape_kji[1:]))
    result = divided(hu[:76], side[:76], grid)
    assert result.reasons[0] == "the left lung is cut at an end of the scan"


@pytest.mark.parametrize("missing", [Side.LEFT, Side.RIGHT])
def test_one_lung_has_no_lobes_and_a_reason(missing):
    hu, side, _ = drawn_lungs()
    side[side == missing] = Side.NONE
    assert divided(hu, side) == NoLobes(f"no {missing.name.lower()} lung was found")


def test_a_collapsed_lung_has_no_lobes_and_a_reason():
    hu, side, _ = drawn_lungs()
    z = np.arange(GRID.shape_kji[0])[:, None, None]
    side[(side == Side.LEFT) & (np.abs(z - 56) > 8)] = Side.NONE
    result = divided(hu, side)
    assert isinstance(result, NoLobes)
    assert result.reason.startswith("the left lung ")


def test_an_empty_map_and_a_speck_have_no_lobes():
    hu, side, _ = drawn_lungs()
    assert isinstance(divided(hu, np.zeros_like(side)), NoLobes)
    speck = np.zeros_like(side)
    speck[50, 40, 90], speck[50, 40, 30] = Side.LEFT, Side.RIGHT
    assert "is not divided" in divided(hu, speck).reason


def test_a_map_without_sides_is_a_mistake_of_the_caller():
    hu, side, _ = drawn_lungs()
    with pytest.raises(ValueError, match="sides"):
        divide(TissueMap((side > 0).astype(np.uint8), GRID), scan_of(hu, GRID))


def test_codes_that_are_not_on_the_grid_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        LobeMap(np.zeros((1, 2, 3), np.uint8), GRID, (), {})


def test_moving_a_fissure_up_takes_from_the_lobe_above():
    codes = np.arange(CODES)
    here, up, down = (lobe_table(shift)[codes] for shift in (0, 1, -1))
    for upper, lower in ((Lobe.LEFT_UPPER, Lobe.LEFT_LOWER),):
        assert np.count_nonzero(up == upper) < np.count_nonzero(here == upper) < np.count_nonzero(down == upper)
        assert np.count_nonzero(up == lower) > np.count_nonzero(here == lower) > np.count_nonzero(down == lower)
    middle = [np.count_nonzero(lobe_table(0, shift)[codes] == Lobe.RIGHT_MIDDLE) for shift in (-1, 0, 1)]
    assert middle == sorted(middle)
    assert len(set(middle)) == 3


def test_codes_of_two_sides_never_meet():
    bands = np.arange(4, dtype=np.uint8)
    codes = [place_code(side, bands[:, None], bands[None, :]).ravel().tolist() for side in Side]
    assert len({code for some in codes for code in some}) == CODES
    assert LOBES[0].key == "left_upper"


def test_beliefs_follow_the_evidence_of_the_neighbours():
    heights = np.arange(-5.0, 6.0)
    evidence = -np.square(heights - 2.0)[None, None].repeat(9, axis=0).repeat(9, axis=1).astype(np.float32)
    evidence[4, 4] = 0  # a column that says nothing lies where its neighbours do
    mean, sd = moments(beliefs(evidence, 0.5), heights)
    assert np.allclose(mean, 2.0, atol=0.05)
    assert sd[4, 4] > sd[0, 0] > 0 or sd[4, 4] > sd[3, 4]


def test_low_order_recovers_a_quadratic_under_outliers():
    x, t = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 31), indexing="ij")
    true = 3 + 2 * x - 4 * t + 3 * x * t + 5 * t**2
    heights = true.copy()
    heights[:5, :5] += 40  # a twenty-fifth of the columns; least squares would be off by 20
    assert np.abs(low_order(heights, np.ones_like(heights), held=1e-6) - true).max() < 1.0
