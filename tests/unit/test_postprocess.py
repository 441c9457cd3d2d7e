"""Lungs are kept, gas is not, sides follow LPS, specks go, and everything dropped is counted."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import AXIAL, ball, chest, scan_of
from scipy import ndimage

from volumetry.domain import Grid, Side, Tissue, TissueMap
from volumetry.image.coarse import strides
from volumetry.segment.postprocess import tidy


def _ml(mask, grid=AXIAL):
    return np.count_nonzero(mask) * grid.voxel_ml


def test_a_clean_chest_is_left_as_it_is(config):
    hu, truth = chest()
    tidied = tidy(truth, scan_of(hu), config.tidy)
    assert np.array_equal(tidied.labels_kji, truth.labels_kji)
    assert set(tidied.dropped_ml.values()) == {0.0}


@pytest.mark.parametrize("mirrored", [False, True])
def test_sides_follow_patient_coordinates_not_the_array(config, mirrored):
    hu, truth = chest()
    grid = AXIAL
    if mirrored:  # the same anatomy written with i running from left to right
        grid = replace(AXIAL, origin_lps_mm=(155.0, -160.0, 0.0), direction_lps=((0, 0, 1), (0, 1, 0), (-1, 0, 0)))
    tidied = tidy(TissueMap(truth.labels_kji, grid), scan_of(hu, grid), config.tidy)
    x_mm = grid.lps_mm(np.argwhere(tidied.side_kji == Side.LEFT))[:, 0]
    assert x_mm.min() > 0
    assert np.array_equal(tidied.side_kji > 0, truth.labels_kji > 0)


def test_lungs_that_touch_are_told_apart_at_their_neck(config):
    grid = Grid((60, 100, 100), (3.0, 3.0, 3.0), origin_lps_mm=(-150.0, -150.0, 0.0))
    hu, truth = chest(grid, gap_mm=-9.0, radius_mm=60.0)
    tidied = tidy(truth, scan_of(hu, grid), config.tidy)
    left, right = (_ml(tidied.side_kji == side, grid) for side in (Side.LEFT, Side.RIGHT))
    assert left == pytest.approx(right, rel=0.03)  # the cut is no finer than the coarse grid
    assert left + right == pytest.approx(_ml(truth.labels_kji > 0, grid))


def test_stomach_gas_and_outside_air_are_not_lung(config):
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    stomach = ball(AXIAL, (3, 30, 46), 18.0)
    room = np.zeros_like(stomach)
    room[:, :4] = True
    hu[stomach] = -1000
    labels[stomach | room] = Tissue.AERATED
    tidied = tidy(TissueMap(labels, AXIAL), scan_of(hu), config.tidy)
    assert np.array_equal(tidied.labels_kji, truth.labels_kji)
    assert tidied.dropped_ml["outside_lungs_ml"] == pytest.approx(_ml((labels > 0) & (truth.labels_kji == 0)))


def test_a_body_of_food_below_the_lungs_is_not_the_second_lung(config):
    hu, _ = chest()
    k, j, i = 20, 32, 32
    lung = ball(AXIAL, (k, j, i - 16), 60.0)
    hu[...] = np.where(hu > -900, 40, hu)
    hu[lung] = -850
    below = ball(AXIAL, (4, j, i + 14), 20.0)
    hu[below] = -600
    labels = np.where(lung, Tissue.AERATED, 0) + np.where(below & ~lung, Tissue.GROUND_GLASS, 0)
    tidied = tidy(TissueMap(labels.astype(np.uint8), AXIAL), scan_of(hu), config.tidy)
    assert np.array_equal(tidied.labels_kji > 0, lung)
    assert tidied.dropped_ml["lesion_outside_lungs_ml"] == pytest.approx(_ml(below & ~lung))
    assert tidied.dropped_ml["lesion_beside_lungs_ml"] == 0.0


@pytest.mark.parametrize("head", [1.0, -1.0])
def test_lesion_left_out_counts_as_beside_the_lungs_from_a_quarter_of_their_height_on(config, head):
    """The lung is 24 sections of 5 mm high: of a body over its whole height the lowest 6 are abdomen."""
    grid = replace(AXIAL, direction_lps=((0.0, 0.0, head), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    hu = np.full(grid.shape_kji, 40, np.float32)
    lung = np.zeros(grid.shape_kji, bool)
    lung[8:32, 20:44, 36:56] = True
    hu[lung] = -850
    left_out = np.zeros_like(lung)
    left_out[8:32, 30:33, 4:7] = True  # more than 100 mm from the lung, and too small for a second one
    labels = np.where(lung, Tissue.AERATED, 0) + np.where(left_out, Tissue.SOLID, 0)
    tidied = tidy(TissueMap(labels.astype(np.uint8), grid), scan_of(hu, grid), config.tidy)
    assert tidied.dropped_ml["lesion_outside_lungs_ml"] == pytest.approx(_ml(left_out))
    assert tidied.dropped_ml["lesion_beside_lungs_ml"] == pytest.approx(_ml(left_out) * 18 / 24)


def test_an_enclosed_hole_becomes_lung_and_an_open_one_does_not(config):
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    centre = (20, 32, 32 - 14)
    hole = ball(AXIAL, centre, 12.0)
    labels[hole] = Tissue.OUTSIDE
    tidied = tidy(TissueMap(labels, AXIAL), scan_of(hu), config.tidy)
    assert np.array_equal(tidied.labels_kji, truth.labels_kji)
    assert tidied.dropped_ml["holes_filled_ml"] == pytest.approx(_ml(hole))


def test_specks_go_and_lesions_stay(config):
    fine = Grid((60, 120, 120), (2.5, 2.5, 2.5), origin_lps_mm=(-150.0, -150.0, 0.0))
    hu, truth = chest(fine)
    labels = truth.labels_kji.copy()
    lesion = ball(fine, (30, 60, 32), 15.0)
    labels[lesion] = Tissue.GROUND_GLASS
    labels[30, 60, 32] = Tissue.SOLID  # 15.6 mm3 inside ground glass: takes its class
    labels[30, 70, 88] = Tissue.SOLID  # 15.6 mm3 alone: noise
    tidied = tidy(TissueMap(labels, fine), scan_of(hu, fine), config.tidy)
    assert _ml(tidied.labels_kji == Tissue.GROUND_GLASS, fine) == pytest.approx(_ml(lesion, fine))
    assert not (tidied.labels_kji == Tissue.SOLID).any()
    assert tidied.dropped_ml["lesion_specks_ml"] == pytest.approx(fine.voxel_ml)
    assert tidied.dropped_ml["class_specks_ml"] == pytest.approx(fine.voxel_ml)


@pytest.mark.parametrize(
    ("depth_mm", "radius_mm", "stays"),
    [(5.5, 15.0, False), (13.0, 15.0, True), (5.5, 100.0, True)],
    ids=["shallow", "deep", "shallow but large"],
)
def test_a_small_lesion_that_reaches_nowhere_deep_is_an_edge(config, depth_mm, radius_mm, stays):
    fine = Grid((60, 120, 120), (2.5, 2.5, 2.5), origin_lps_mm=(-150.0, -150.0, 0.0))
    hu, truth = chest(fine)
    labels = tidy(truth, scan_of(hu, fine), config.tidy).labels_kji.copy()
    depth = ndimage.distance_transform_edt(labels > 0, sampling=fine.spacing_kji_mm)
    edge = np.argwhere(labels[30, 60])[0, 0]
    lesion = (depth > 0) & (depth < depth_mm) & ball(fine, (30, 60, edge), radius_mm)
    labels[lesion] = Tissue.GROUND_GLASS
    lesion_ml = _ml(lesion, fine)
    assert lesion_ml > 0
    assert (lesion_ml > config.tidy.max_shallow_lesion_ml) == (radius_mm > 50)
    tidied = tidy(TissueMap(labels, fine), scan_of(hu, fine), config.tidy)
    assert _ml(tidied.labels_kji == Tissue.GROUND_GLASS, fine) == pytest.approx(lesion_ml * stays)
    assert tidied.dropped_ml["lesion_shallow_ml"] == pytest.approx(lesion_ml * (not stays))
    assert np.array_equal(tidied.labels_kji > 0, labels > 0)  # it stays lung
    keep = config.tidy.model_copy(update={"shallow_lesion_mm": 0.0})
    assert np.array_equal(tidy(TissueMap(labels, fine), scan_of(hu, fine), keep).labels_kji, labels)


def test_no_data_voxels_are_in_no_volume(config):
    hu, truth = chest()
    missing = np.zeros(AXIAL.shape_kji, bool)
    missing[:, 20:24] = True
    tidied = tidy(truth, scan_of(hu, no_data=missing), config.tidy)
    assert not tidied.labels_kji[missing].any()


def test_no_lung_gives_an_empty_map_rather_than_a_guess(config):
    hu = np.full(AXIAL.shape_kji, 40, np.float32)
    nothing = TissueMap(np.zeros(AXIAL.shape_kji, np.uint8), AXIAL)
    tidied = tidy(nothing, scan_of(hu), config.tidy)
    assert not tidied.labels_kji.any()
    assert not tidied.side_kji.any()


def test_one_lung_alone_has_one_side(config):
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    labels[:, :, 32:] = 0
    hu[:, 6:-6, 32:-3] = 40
    tidied = tidy(TissueMap(labels, AXIAL), scan_of(hu), config.tidy)
    assert set(np.unique(tidied.side_kji)) == {Side.NONE, Side.RIGHT}


FINE = Grid((80, 120, 120), (2.5, 2.5, 2.5), origin_lps_mm=(-150.0, -150.0, 0.0))


def test_bowel_gas_tied_to_a_lung_is_cut_off(config):
    hu, truth = chest(FINE)
    gas = ball(FINE, (6, 60, 88), 30.0)
    gas &= truth.labels_kji == 0
    wall = ball(FINE, (6, 60, 88), 33.0) & ~gas & (truth.labels_kji == 0)
    hu[gas] = -1000
    hu[wall] = -500  # blurred, and taken for lesion: it joins gas and lung
    labels = truth.labels_kji.copy()
    labels[gas] = Tissue.AERATED
    labels[wall] = Tissue.GROUND_GLASS
    tidied = tidy(TissueMap(labels, FINE), scan_of(hu, FINE), config.tidy)
    kept_outside = (tidied.labels_kji > 0) & (truth.labels_kji == 0)
    assert _ml(kept_outside, FINE) < 0.05 * _ml(gas | wall, FINE)
    assert _ml(tidied.labels_kji > 0, FINE) == pytest.approx(_ml(truth.labels_kji > 0, FINE), rel=0.02)


def test_a_trachea_called_lung_is_dropped_and_a_bulla_is_kept(config):
    hu, truth = chest(FINE, gap_mm=40.0)
    trachea = np.zeros(FINE.shape_kji, bool)
    trachea[45:, 57:63, 57:63] = True
    bulla = ball(FINE, (40, 60, 28), 15.0)
    hu[trachea | bulla] = -1000
    labels = truth.labels_kji.copy()
    labels[trachea] = Tissue.AERATED
    tidied = tidy(TissueMap(labels, FINE), scan_of(hu, FINE), config.tidy)
    assert not tidied.labels_kji[trachea].any()
    assert tidied.labels_kji[bulla].all()
    assert _ml(tidied.labels_kji > 0, FINE) == pytest.approx(_ml(truth.labels_kji > 0, FINE), rel=0.005)


def test_abdominal_fat_called_lung_is_dropped_and_the_recess_beside_it_is_kept(config):
    hu, truth = chest(FINE)
    fat = ball(FINE, (14, 60, 88), 25.0) & (truth.labels_kji == 0)
    hu[fat] = -100
    labels = truth.labels_kji.copy()
    labels[fat] = Tissue.AERATED
    tidied = tidy(TissueMap(labels, FINE), scan_of(hu, FINE), config.tidy)
    assert _ml(tidied.labels_kji[fat] > 0, FINE) < 0.05 * _ml(fat, FINE)
    assert _ml(tidied.labels_kji > 0, FINE) == pytest.approx(_ml(truth.labels_kji > 0, FINE), rel=0.01)


def test_a_consolidation_that_was_called_aerated_stays_lung(config):
    hu, truth = chest(FINE)
    dense = ball(FINE, (40, 66, 92), 20.0) & (truth.labels_kji > 0)
    hu[dense] = 30
    tidied = tidy(truth, scan_of(hu, FINE), config.tidy)
    assert tidied.labels_kji[dense].all()


def test_room_around_the_patient_changes_nothing(config):
    """Only the surroundings of what is labelled are looked at, wherever in the image they lie."""
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    labels[:2, :3, :3] = Tissue.GROUND_GLASS  # room air in a corner
    room = [
        (0, 0),
        *(
            (near * n, far * n)
            for near, far, n in zip((10, 3), (6, 16), strides(AXIAL.spacing_kji_mm)[1:], strict=True)
        ),
    ]
    wide_hu, wide_labels = np.pad(hu, room, constant_values=-1000), np.pad(labels, room)
    origin = AXIAL.lps_mm(-np.array([float(near) for near, _ in room]))
    grid = replace(AXIAL, shape_kji=wide_hu.shape, origin_lps_mm=tuple(origin.tolist()))
    small = tidy(TissueMap(labels, AXIAL), scan_of(hu), config.tidy)
    wide = tidy(TissueMap(wide_labels, grid), scan_of(wide_hu, grid), config.tidy)
    np.testing.assert_array_equal(wide.labels_kji, np.pad(small.labels_kji, room))
    np.testing.assert_array_equal(wide.side_kji, np.pad(small.side_kji, room))
    assert wide.dropped_ml == pytest.approx(small.dropped_ml)
    assert wide.dropped_ml["outside_lungs_ml"] == pytest.approx(18 * AXIAL.voxel_ml)
