"""The threshold segmenter on drawn scenes whose answer is known."""

import numpy as np
import pytest
from scenes import ball, chest, scan_of

from volumetry.domain import Grid, Tissue
from volumetry.segment.hu_segmenter import ThresholdSegmenter
from volumetry.segment.postprocess import tidy

GRID = Grid((120, 150, 150), (2.0, 2.0, 2.0), origin_lps_mm=(-150.0, -150.0, 0.0))


def _segmented(hu, config):
    scan = scan_of(hu, GRID)
    return tidy(ThresholdSegmenter()(scan), scan, config.tidy)


def test_sharp_lungs_and_lesions_come_back_voxel_for_voxel(config):
    hu, truth = chest(GRID)
    expected = truth.labels_kji.copy()
    for centre, kind, value in (((60, 75, 40), Tissue.GROUND_GLASS, -600), ((60, 75, 110), Tissue.SOLID, 40)):
        lesion = ball(GRID, centre, 16.0)
        hu[lesion] = value
        expected[lesion] = kind
    found = _segmented(hu, config).labels_kji
    lung = 1 - 2 * np.count_nonzero((found > 0) != (expected > 0)) / np.count_nonzero(expected) / 2
    assert lung > 0.995  # closing rounds the surface of a voxelised ball
    for kind in (Tissue.GROUND_GLASS, Tissue.SOLID):
        ml, true_ml = (np.count_nonzero(x == kind) * GRID.voxel_ml for x in (found, expected))
        assert ml == pytest.approx(true_ml, rel=0.03)


def test_a_vessel_is_lung_and_no_lesion(config):
    hu, _ = chest(GRID)
    hu[:, 74:76, 108:110] = np.where(hu[:, 74:76, 108:110] == -850, 40, hu[:, 74:76, 108:110])
    found = _segmented(hu, config)
    assert found.labels_kji[60, 75, 109] == Tissue.AERATED
    assert not (found.labels_kji > Tissue.AERATED).any()


def test_the_room_and_an_open_airway_are_not_lung(config):
    hu, truth = chest(GRID)
    hu[60:, 70:76, 73:77] = -1000
    found = _segmented(hu, config)
    too_much = (found.labels_kji > 0) & (truth.labels_kji == 0)
    assert np.count_nonzero(too_much) < 0.005 * np.count_nonzero(truth.labels_kji)


def test_a_scan_without_air_inside_has_no_lung(config):
    assert not _segmented(np.full(GRID.shape_kji, 40, np.float32), config).labels_kji.any()
