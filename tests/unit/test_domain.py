"""The nouns are valid from birth."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from volumetry.codes import CATALOGUE, Outcome
from volumetry.domain import CtScan, Finding, Grid, ScanRefusedError, SeriesInfo, TissueMap, most_severe_first


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_grid_is_never_born_with_a_bad_spacing(bad):
    with pytest.raises(ValueError, match="spacing must be positive and finite"):
        Grid((2, 2, 2), (bad, 1.0, 1.0))


def test_a_grid_is_never_born_flat():
    with pytest.raises(ValueError, match="span space"):
        Grid((2, 2, 2), (1.0, 1.0, 1.0), direction_lps=((1, 0, 0), (0, 1, 0), (1, 0, 0)))


def test_a_grid_refuses_directions_that_are_not_unit_vectors():
    with pytest.raises(ValueError, match="unit vectors"):
        Grid((2, 2, 2), (1.0, 1.0, 1.0), direction_lps=((0, 0, 2), (0, 1, 0), (1, 0, 0)))


def test_the_nifti_affine_is_ras_and_runs_i_j_k():
    grid = Grid((4, 5, 6), (2.0, 0.7, 0.8), origin_lps_mm=(-10.0, -20.0, 30.0))
    index_ijk = np.array([3, 2, 1, 1])
    x, y, z = grid.lps_mm(np.array([1, 2, 3]))
    assert grid.affine_ras @ index_ijk == pytest.approx([-x, -y, z, 1])


def test_a_scan_must_lie_on_its_grid_and_a_map_must_hold_tissues():
    grid = Grid((2, 2, 2), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="is not float32"):
        CtScan(np.zeros((2, 2, 3), np.float32), grid, SeriesInfo("1", 2, (1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="not a tissue"):
        TissueMap(np.full((2, 2, 2), 9, np.uint8), grid)


def test_findings_are_listed_refusals_first_then_by_the_catalogue():
    found = [
        Finding("REORDERED", Outcome.REPAIR, "r"),
        Finding("THICK_SLICES", Outcome.FLAG, "t"),
        Finding("NO_RESCALE", Outcome.REFUSE, "n"),
        Finding("MISSING_SLICES", Outcome.REFUSE, "m"),
    ]
    assert [f.code for f in most_severe_first(found)] == [
        "MISSING_SLICES",
        "NO_RESCALE",
        "THICK_SLICES",
        "REORDERED",
    ]


def test_a_refusal_survives_the_way_back_from_a_worker():
    stop = ScanRefusedError([Finding("NO_RESCALE", Outcome.REFUSE, "no RescaleSlope (0028,1053)")])
    back = pickle.loads(pickle.dumps(stop))  # noqa: S301  our own bytes
    assert (back.code, back.message, back.hint, back.exit_code) == (stop.code, stop.message, stop.hint, 3)


def test_a_refusal_needs_a_reason():
    with pytest.raises(ValueError, match="refuses"):
        ScanRefusedError([Finding("REORDERED", Outcome.REPAIR, "sorted")])


def test_every_code_says_what_to_do_and_the_trial_is_never_milder():
    order = list(Outcome)
    for code in CATALOGUE.values():
        assert code.hint.endswith(".")
        assert order.index(code.trial_outcome) <= order.index(code.outcome)


def test_image_numbers_go_with_their_slices():
    grid = Grid((4, 2, 2), (1.0, 1.0, 1.0))
    scan = CtScan(np.zeros(grid.shape_kji, np.float32), grid, SeriesInfo("1", 4, (1.0, 1.0, 1.0)))
    assert replace(scan, image_numbers=(9, 8, None, 6)).part(np.s_[1:3, 0:1, 0:1]).image_numbers == (8, None)
    assert scan.part(np.s_[1:3, 0:1, 0:1]).image_numbers == ()
    with pytest.raises(ValueError, match="3 image numbers for 4 slices"):
        replace(scan, image_numbers=(3, 2, 1))


def test_a_part_of_a_tilted_scan_lies_where_it_lay():
    tilt = (0.0, math.sin(0.2), math.cos(0.2))
    grid = Grid((6, 5, 4), (2.0, 0.7, 0.8), (3.0, -2.0, 9.0), (tilt, (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)))
    hu = np.arange(120, dtype=np.float32).reshape(grid.shape_kji)
    scan = CtScan(hu, grid, SeriesInfo("1", 6, (2.0, 0.7, 0.8)), no_data_kji=hu > 100)
    part = scan.part((slice(1, 4), slice(2, 5), slice(1, 3)))
    assert part.grid.shape_kji == (3, 3, 2)
    np.testing.assert_allclose(part.grid.lps_mm(np.zeros(3)), grid.lps_mm(np.array([1.0, 2.0, 1.0])))
    np.testing.assert_allclose(part.grid.step_lps_mm, grid.step_lps_mm)
    np.testing.assert_array_equal(part.hu_kji, hu[1:4, 2:5, 1:3])
    np.testing.assert_array_equal(part.no_data_kji, hu[1:4, 2:5, 1:3] > 100)
