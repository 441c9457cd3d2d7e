"""Numbers by lobe of drawn maps, against counts made here; the score against the published cut points."""

import numpy as np
import pytest

from volumetry.domain import (
    Grid,
    Interval,
    LobeMap,
    LobeMeasurement,
    NoLobes,
    Side,
    Tissue,
    TissueMap,
    Volumes,
    place_code,
)
from volumetry.errors import SegmentationError
from volumetry.measure import check_lobes, measure_lobes
from volumetry.measure.lobes import lobe_score

GRID = Grid((10, 10, 10), (10.0, 10.0, 10.0))  # voxels of 1 mL
SURELY_BELOW, PROBABLY_BELOW, PROBABLY_ABOVE, SURELY_ABOVE = range(4)


def drawn(reasons=()):
    """Left: i 0 to 4, right: i 5 to 9. Lower lobes k 0 to 4; on the right middle lobe k 5 and 6."""
    codes = np.zeros(GRID.shape_kji, np.uint8)
    labels = np.full(GRID.shape_kji, Tissue.AERATED, np.uint8)
    oblique = np.array([0, 0, 0, 0, 1, 2, 3, 3, 3, 3], np.uint8)
    horizontal = np.array([0, 0, 0, 0, 0, 0, 1, 2, 3, 3], np.uint8)
    codes[:, :, :5] = place_code(Side.LEFT, oblique)[:, None, None]
    codes[:, :, 5:] = place_code(Side.RIGHT, oblique, horizontal)[:, None, None]
    labels[4, :, :5] = Tissue.GROUND_GLASS  # 50 mL, the highest layer of the left lower lobe
    labels[9, :5, 5:] = Tissue.SOLID  # 25 mL of the right upper lobe
    doubt = dict.fromkeys(("left_oblique", "right_oblique", "right_horizontal"), 8.0)
    return TissueMap(labels, GRID), LobeMap(codes, GRID, reasons, doubt)


def test_volumes_and_shares_by_lobe_are_those_drawn():
    found = measure_lobes(*drawn())
    assert found.method == "fissures"
    assert found.reason is None
    lungs = {name: volumes.lung for name, volumes in found.volumes_ml.items()}
    assert lungs == {
        "left_upper": 250,
        "left_lower": 250,
        "right_upper": 150,
        "right_middle": 100,
        "right_lower": 250,
    }
    assert found.volumes_ml["left_lower"] == Volumes(200, 50, 0)
    assert found.volumes_ml["right_upper"] == Volumes(125, 0, 25)
    assert found.volumes_ml["right_middle"].lesion == 0


def test_a_lobe_states_what_its_share_is_with_the_fissure_moved_by_its_doubt():
    spans = measure_lobes(*drawn()).lesion_span_percent
    # Moved down, the fissure gives the diseased layer to the upper lobe: 50 of 300 mL, and 0 of 200 mL.
    assert spans["left_upper"] == pytest.approx((0, 100 * 50 / 300))
    # Moved up, the lower lobe has a layer of 50 mL more without disease.
    assert spans["left_lower"] == pytest.approx((0, 100 * 50 / 250))
    # The upper lobe has 25 of 150 mL, of 200 with the horizontal fissure lower, of 100 with it higher.
    assert spans["right_upper"] == pytest.approx((100 * 25 / 200, 100 * 25 / 100))
    assert spans["right_lower"] == (0, 0)


def test_the_score_is_the_sum_over_lobes_and_its_range_holds_it():
    found = measure_lobes(*drawn())
    assert found.severity_score == 0 + 2 + 2 + 0 + 0  # 20 % and 16.7 %
    # Lowest: 0 % and 12.5 %. Highest: 17.7, 21, 26 and twice 1 %.
    assert found.severity_score_range == (2, 2 + 2 + 3 + 1 + 1)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        # Both lungs have 75 of 1000 mL, 7.5 %. At 15 % every share is twice as large: 34.3, 41 and 51 %, and the
        # other two have a point; at 3 % it is 0.4 of the lowest, 0 and 12.5 %, less a point.
        ((3.0, 15.0), (1, 3 + 3 + 4 + 1 + 1)),
        # The end of the interval is the measured percentage: the spans alone.
        ((7.5, 7.5), (2, 2 + 2 + 3 + 1 + 1)),
        # The right upper lobe alone has lesion in every case: 12.5 % of it become 75 %, less a point.
        ((45.0, 45.0), (4, 5 + 5 + 5 + 1 + 1)),
    ],
)
def test_the_range_of_the_score_follows_the_interval_of_the_percentage(percent, expected):
    interval = Interval({"lesion": percent}, {}, 0.95)
    found = measure_lobes(*drawn(), interval)
    assert found.severity_score == 4
    assert found.severity_score_range == expected


def test_without_lesion_every_lobe_may_have_what_the_interval_leaves_both_lungs():
    _, lobes = drawn()
    none = TissueMap(np.full(GRID.shape_kji, Tissue.AERATED, np.uint8), GRID)
    found = measure_lobes(none, lobes, Interval({"lesion": (0.0, 4.5)}, {}, 0.95))
    assert found.severity_score == 0
    assert found.severity_score_range == (0, 5 * 2)  # 4.5 and a point are 5.5 %


@pytest.mark.parametrize(
    ("percent", "score"),
    [
        (0, 0),
        (1e-9, 1),
        (4.94, 1),
        (4.96, 2),
        (5, 2),
        (25, 2),
        (25.04, 2),
        (25.06, 3),
        (49.94, 3),
        (49.96, 4),
        (50, 4),
        (75, 4),
        (75.04, 4),
        (75.06, 5),
        (100, 5),
    ],
)
def test_the_cut_points_are_those_of_pan_for_the_percentage_that_is_printed(percent, score):
    assert lobe_score(percent) == score


@pytest.mark.parametrize(("lesion_ml", "score"), [(0.94, 0), (0.96, 1), (1.0, 1)])
def test_less_than_a_millilitre_is_no_involvement_of_a_lobe(lesion_ml, score):
    assert lobe_score(0.3, lesion_ml) == score


def test_approximate_lobes_keep_their_reasons():
    found = measure_lobes(*drawn(("slices are 5.0 mm apart", "the left lung is cut")))
    assert found.method == "approximate"
    assert found.reason == "slices are 5.0 mm apart; the left lung is cut"


def test_without_lobes_there_is_a_reason_and_not_a_number():
    tissue, _ = drawn()
    found = measure_lobes(tissue, NoLobes("no left lung was found"))
    assert found == LobeMeasurement("none", "no left lung was found")
    assert found.severity_score is None


def test_a_lobe_without_lung_is_not_given_a_share():
    tissue, lobes = drawn()
    codes = np.where(lobes.codes_kji == place_code(Side.RIGHT, np.uint8(3), 1), 0, lobes.codes_kji)
    codes[5, :, 5:] = codes[7, :, 5:]
    labels = np.where(codes > 0, tissue.labels_kji, 0).astype(np.uint8)
    found = measure_lobes(TissueMap(labels, GRID), LobeMap(codes.astype(np.uint8), GRID, (), lobes.doubt_mm))
    assert found == LobeMeasurement("none", "the right middle lobe has no lung")


def test_lobes_of_another_grid_are_a_mistake():
    tissue, lobes = drawn()
    other = Grid(GRID.shape_kji, (5.0, 10.0, 10.0))
    with pytest.raises(ValueError, match="different grids"):
        measure_lobes(TissueMap(tissue.labels_kji, other), lobes)


def test_lobes_that_do_not_add_up_stop_the_scan():
    tissue, lobes = drawn()
    found = measure_lobes(tissue, lobes)
    check_lobes(found, tissue)
    labels = tissue.labels_kji.copy()
    labels[0, 0, 0] = Tissue.SOLID
    with pytest.raises(SegmentationError, match="of the lobes"):
        check_lobes(found, TissueMap(labels, GRID))
