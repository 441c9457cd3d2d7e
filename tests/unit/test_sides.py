"""Left and right that cannot be trusted are called out; lungs that merely touch are not."""

import numpy as np
import pytest
from scenes import AXIAL, chest, scan_of

from volumetry.codes import Outcome
from volumetry.domain import Grid, Side, Tissue, TissueMap
from volumetry.measure import measure
from volumetry.quality import lung_findings
from volumetry.quality.sides import joint_mm, side_findings
from volumetry.segment.postprocess import tidy

MIDDLE = AXIAL.shape_kji[2] // 2
LEFT_HALF = np.arange(AXIAL.shape_kji[2]) >= MIDDLE  # LPS x grows along i


def sided(labels, left):
    """A map whose left lung is where `left` says."""
    side = np.where(labels > 0, np.where(left, Side.LEFT, Side.RIGHT), Side.NONE)
    return TissueMap(labels, AXIAL, side.astype(np.uint8))


def judged(tissue, hu, config):
    """The finding, or None."""
    found = side_findings(tissue, scan_of(hu), config)
    assert [f.code for f in found] in ([], ["SIDE_CONFLICT"])
    return found[0] if found else None


def bridged(height_mm, depth_mm):
    """Two lungs 20 mm apart and a bar of lung between them; each has its half of the bar."""
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    k, j = (round(mm / 5 / 2) for mm in (height_mm, depth_mm))
    bar = np.s_[20 - k : 20 + k, 32 - j : 32 + j, MIDDLE - 6 : MIDDLE + 6]
    labels[bar] = Tissue.AERATED
    hu[bar] = -850
    return hu, labels


@pytest.mark.parametrize("mirrored", [False, True])
def test_two_lungs_each_on_its_side_earn_nothing(config, mirrored):
    hu, truth = chest()
    grid = Grid(AXIAL.shape_kji, (5.0, 5.0, 5.0), (160.0, -160.0, 0.0), ((0, 0, 1), (0, 1, 0), (-1, 0, 0)))
    grid = grid if mirrored else AXIAL
    left = ~LEFT_HALF if mirrored else LEFT_HALF
    side = sided(truth.labels_kji, left).side_kji
    assert side_findings(TissueMap(truth.labels_kji, grid, side), scan_of(hu, grid), config) == []


def test_swapped_sides_are_flagged_with_all_of_the_lung(config):
    hu, truth = chest()
    found = judged(sided(truth.labels_kji, ~LEFT_HALF), hu, config)
    assert found.outcome is Outcome.FLAG
    assert found.value == 1.0
    assert found.message.startswith("100 % of the lung labelled left lies on the patient's right (slices ")


@pytest.mark.parametrize("name", ["left", "right"])
def test_one_label_over_both_lungs_is_flagged_with_half_of_it(config, name):
    """Two equal lungs, mirror images of each other."""
    hu, truth = chest()
    found = judged(sided(truth.labels_kji, np.full(LEFT_HALF.shape, name == "left")), hu, config)
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert f"labelled {name}" in found.message


def test_without_the_ct_two_lungs_under_one_name_are_still_seen(config):
    """Each ball of radius 60 mm holds 4/3 pi r^3 = 905 mL."""
    hu, truth = chest()
    unknown = np.full_like(hu, np.nan)
    found = judged(sided(truth.labels_kji, True), unknown, config)
    assert found.message.startswith("two separate lungs")
    assert found.value == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)
    assert judged(sided(truth.labels_kji, LEFT_HALF), unknown, config) is None


def test_a_fragment_beside_a_single_lung_is_no_second_lung(config):
    """5 % of a lung is what tidying asks of a second one; this has 4 mL of 905."""
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    labels[:, :, :MIDDLE] = 0
    labels[20:22, 32:36, 10:14] = Tissue.AERATED
    assert judged(sided(labels, True), np.full_like(hu, np.nan), config) is None


def test_a_single_lung_that_fills_the_place_of_the_lost_one_is_on_its_own_side(config):
    """A bar with a quarter of its length beyond the middle of the chest."""
    hu, truth = chest()
    labels = np.zeros_like(truth.labels_kji)
    labels[10:30, 20:44, MIDDLE - 6 : MIDDLE + 18] = Tissue.AERATED
    assert judged(sided(labels, True), hu, config) is None
    labels = np.roll(labels, -6, axis=2)  # half of its length
    assert judged(sided(labels, True), hu, config).value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_joint_is_as_thick_as_the_narrowest_way_across_it(axis):
    """A long block in two halves; the narrowest way across their common face is known."""
    spacing, shape = (5.0, 2.0, 3.0), [40, 40, 40]
    shape[axis] = 120
    side = np.zeros(shape, np.uint8)
    block = [slice(8, n - 8) for n in shape]
    side[tuple(block)] = Side.LEFT
    block[axis] = slice(8, 60)
    side[tuple(block)] = Side.RIGHT
    across_mm = min(24 * mm for n, mm in enumerate(spacing) if n != axis)
    assert joint_mm(side, spacing) == pytest.approx(across_mm, abs=max(spacing))
    assert joint_mm(np.where(side == Side.RIGHT, 0, side), spacing) == 0.0


@pytest.mark.parametrize(
    ("height_mm", "depth_mm", "flagged"), [(100, 20, False), (160, 30, False), (60, 60, True), (80, 80, True)]
)
def test_a_thin_junction_is_trusted_and_a_thick_one_is_not(config, height_mm, depth_mm, flagged):
    """However high it is: the lungs of an emphysema touch over the whole height of the mediastinum."""
    hu, labels = bridged(height_mm, depth_mm)
    found = judged(sided(labels, LEFT_HALF), hu, config)
    assert (found is not None) is flagged
    if flagged:
        assert found.value == pytest.approx(depth_mm, abs=10)
        assert found.message.startswith(f"left and right lung meet where the lung is {found.value:.0f} mm thick")


@pytest.mark.parametrize(("height_mm", "depth_mm", "flagged"), [(60, 20, False), (100, 100, True)])
def test_the_sides_that_tidying_makes_are_judged_with_the_lungs(config, height_mm, depth_mm, flagged):
    hu, labels = bridged(height_mm, depth_mm)
    scan = scan_of(hu)
    tissue = tidy(TissueMap(labels, AXIAL), scan, config.tidy)
    found = lung_findings(tissue, scan, measure(tissue, scan, config.measure), config)
    assert ("SIDE_CONFLICT" in {f.code for f in found}) is flagged


def test_a_map_without_sides_cannot_be_judged(config):
    hu, truth = chest()
    with pytest.raises(ValueError, match="sides"):
        side_findings(truth, scan_of(hu), config)
