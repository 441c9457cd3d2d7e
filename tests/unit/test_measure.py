"""Counting: against formulas, and the trial's acceptance numbers (trial.md E1, E9, E10)."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import AXIAL, scan_of

from volumetry.domain import ComponentSplit, Grid, Side, Tissue, TissueMap, Volumes
from volumetry.errors import SegmentationError
from volumetry.measure import by_component_rule, check_identities, measure

CUBE = Grid((10, 10, 10), (10.0, 10.0, 10.0))  # voxels of 1 mL


def _map(labels, grid=CUBE):
    side = np.where(labels > 0, Side.LEFT, Side.NONE).astype(np.uint8)
    return TissueMap(labels.astype(np.uint8), grid, side)


def test_four_hundred_of_four_thousand_is_ten_percent():
    assert Volumes(aerated=3600, ground_glass=300, solid=100).percent_of_lung()["lesion"] == 10.0


def test_no_lung_has_no_share():
    assert Volumes(0, 0, 0).percent_of_lung() == {}


def test_a_hundred_ml_at_minus_six_hundred_weigh_forty_grams(config):
    labels = np.zeros(CUBE.shape_kji)
    labels[0] = Tissue.GROUND_GLASS
    hu = np.full(CUBE.shape_kji, -600, np.float32)
    found = measure(_map(labels), scan_of(hu, CUBE), config.measure)
    assert found.values["lesion_weight_hu_ml"] == pytest.approx(-60000)
    assert found.values["lesion_mass_g"] == pytest.approx(40.0)
    assert found.values["mean_lung_hu"] == pytest.approx(-600)


def test_hu_bins_cover_the_whole_lung_and_split_at_the_registered_cuts(config):
    hu = np.full(CUBE.shape_kji, 40, np.float32)
    hu[0, 0, :6] = (-751, -750, -301, -300, 50, 51)
    labels = np.zeros(CUBE.shape_kji)
    labels[0, 0, :6] = Tissue.AERATED
    found = measure(_map(labels), scan_of(hu, CUBE), config.measure).hu_bins_ml
    assert found == pytest.approx({"below_-750": 1, "-750_to_-300": 2, "-300_to_50": 2, "above_50": 1})


def test_the_hu_rule_splits_the_lesion_and_says_what_is_neither(config):
    settings = config.measure.model_copy(update={"component_rule": "hu"})
    labels = np.zeros(CUBE.shape_kji)
    labels[0, 0, :6] = Tissue.SOLID
    labels[1] = Tissue.AERATED
    hu = np.full(CUBE.shape_kji, -850, np.float32)
    hu[0, 0, :6] = (-751, -750, -301, -300, 50, 51)
    tissue, scan = _map(labels), scan_of(hu, CUBE)
    found = measure(tissue, scan, settings)
    assert found.volumes_ml == Volumes(aerated=100, ground_glass=2, solid=2, unclassed=2)
    assert found.components_by_rule["hu"] == ComponentSplit(2, 2, lesion_below_ml=1, lesion_above_ml=1)
    assert found.components_by_rule["network"] == ComponentSplit(0, 6)
    check_identities(found, by_component_rule(tissue, scan, settings))


def test_zones_are_thirds_of_the_height_whatever_way_the_slices_run(config):
    labels = np.zeros(CUBE.shape_kji)
    labels[1:] = Tissue.AERATED  # nine slices, ten mm apart: three to each third
    hu = np.full(CUBE.shape_kji, -850, np.float32)
    upward = measure(_map(labels), scan_of(hu, CUBE), config.measure).zones
    assert {name: zone.lung for name, zone in upward.items()} == pytest.approx(dict.fromkeys(upward, 300.0))
    labels[1:4] = Tissue.SOLID
    down = replace(CUBE, direction_lps=((0, 0, -1), (0, 1, 0), (1, 0, 0)))
    for grid, where in ((CUBE, "lower"), (down, "upper")):
        zones = measure(_map(labels, grid), scan_of(hu, grid), config.measure).zones
        assert zones[where].solid == pytest.approx(300)


def test_a_tilted_voxel_is_counted_by_its_determinant(config):
    angle = np.deg2rad(20)
    tilted = replace(CUBE, direction_lps=((0, np.sin(angle), np.cos(angle)), (0, 1, 0), (1, 0, 0)))
    labels = np.ones(CUBE.shape_kji)
    found = measure(_map(labels, tilted), scan_of(np.full(CUBE.shape_kji, -850.0), tilted), config.measure)
    assert found.volumes_ml.lung == pytest.approx(1000 * np.cos(angle))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"volumes_ml": Volumes(99, 0, 0)}, "aerated of the mask"),
        ({"sides": {"left": Volumes(90, 0, 0), "right": Volumes(0, 0, 0)}}, "left \\+ right"),
        ({"zones": {}}, "upper \\+ middle \\+ lower"),
        ({"hu_bins_ml": {"below_-750": 1.0}}, "HU bins"),
        (
            {"components_by_rule": {"network": ComponentSplit(0, 5), "hu": ComponentSplit(0, 0)}},
            "by network = lesion",
        ),
    ],
)
def test_each_broken_identity_is_named(config, change, says):
    labels = np.zeros(CUBE.shape_kji)
    labels[0] = Tissue.AERATED
    tissue = _map(labels)
    good = measure(tissue, scan_of(np.full(CUBE.shape_kji, -850.0), CUBE), config.measure)
    check_identities(good, tissue)
    with pytest.raises(SegmentationError, match=says):
        check_identities(replace(good, **change), tissue)


def test_a_map_without_sides_is_a_programming_mistake(config):
    bare = TissueMap(np.zeros(AXIAL.shape_kji, np.uint8), AXIAL)
    with pytest.raises(ValueError, match="tidied"):
        measure(bare, scan_of(np.zeros(AXIAL.shape_kji)), config.measure)
