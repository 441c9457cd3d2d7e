"""The interval: what moves a share, what an outline's shift is worth, and how a calibration widens it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from volumetry.config import load_config
from volumetry.domain import SHARES, CtScan, Doubt, Grid, SeriesInfo, Tissue, TissueMap
from volumetry.measure import measure
from volumetry.measure.interval import boundary_points, interval_of, undecided_points
from volumetry.segment.postprocess import with_sides
from volumetry.segment.thresholds import Cuts
from volumetry.segment.uncertainty import added, class_counts, spread_points, threshold_counts, undecided_voxels
from volumetry.training.calibration import DRAWN, SOURCE_BLOCKS, Block, coverage, fitted

CONFIG = load_config()
EVEN_CUTS = Cuts(0.5, 0.5, 0.5)
NOTHING = dict.fromkeys(SHARES, 0.0)
SURE = Doubt({}, NOTHING, 0.0, dict.fromkeys(SHARES, 1.0), 0.95)


def test_counts_follow_the_thresholds() -> None:
    """Ten pixels of sure lung; lesion probabilities 0.05, 0.15 ... 0.95; the upper half of them surely solid."""
    lesion = np.arange(0.05, 1, 0.1)
    probabilities = np.stack([np.ones(10), lesion, (lesion > 0.7) * 1.0])
    assert class_counts(probabilities, EVEN_CUTS).tolist() == [10, 5, 2, 3]
    counts = threshold_counts(probabilities, EVEN_CUTS, 0.2)
    assert counts["lesion low"].tolist() == [10, 7, 4, 3]
    assert counts["lesion high"].tolist() == [10, 3, 0, 3]
    assert counts["solid low"].tolist() == counts["solid high"].tolist() == [10, 5, 2, 3]
    twice = added(counts, counts)
    assert twice["base"].tolist() == [20, 10, 4, 6]
    points = spread_points(counts)["threshold"]
    assert points == pytest.approx({"lesion": 20.0, "ground_glass": 20.0, "solid": 0.0})


def test_moved_thresholds_count_what_they_would_count_everywhere() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((3, 5, 30, 30)).astype(np.float16)
    counts = threshold_counts(probabilities, EVEN_CUTS, 0.2)
    whole = probabilities.astype(np.float32)
    for name, lesion, solid in (
        ("base", 0, 0),
        ("lesion low", -0.2, 0),
        ("lesion high", 0.2, 0),
        ("solid low", 0, -0.2),
    ):
        assert counts[name].tolist() == class_counts(whole, EVEN_CUTS, lesion, solid).tolist(), name
    assert counts["lesion low"][1] > counts["base"][1] > counts["lesion high"][1]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_undecided_is_lung_from_a_small_probability_of_lesion_up_to_the_cut(kind: type) -> None:
    """Of ten pixels of lung: clearly healthy, undecided, and lesion; of the two outside, one is called lesion."""
    lung = np.array([0.9] * 10 + [0.2, 0.2])
    lesion = np.array([0.0, 0.01, 0.04, 0.06, 0.2, 0.3, 0.44, 0.46, 0.7, 1.0, 0.3, 0.8])
    probabilities = np.stack([lung, lesion, np.zeros(12)]).astype(kind)
    assert undecided_voxels(probabilities, Cuts(0.5, 0.45, 0.5)).tolist() == [4, 11]


def test_parts_are_differences_in_points() -> None:
    base = np.array([200, 20, 12, 8])
    counts = dict.fromkeys(("base", "lesion low", "lesion high", "solid low", "solid high"), base)
    counts |= {"mirrored": np.array([200, 24, 12, 12]), "hu low": np.array([200, 18, 10, 8])}
    counts |= {"hu high": np.array([200, 24, 10, 14])}
    parts = spread_points(counts)
    assert parts["threshold"] == pytest.approx(NOTHING)
    assert parts["augmentation"] == pytest.approx({"lesion": 2, "ground_glass": 0, "solid": 2})
    assert parts["hu_offset"] == pytest.approx({"lesion": 1.5, "ground_glass": 0, "solid": 1.5})
    assert spread_points({"base": np.zeros(4, int)}) == {}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.8, 0.8)])
def test_a_ball_grows_by_its_surface(spacing) -> None:
    """4 pi r2 times the shift, for a ball of 24 mm radius; faces of voxels see a sphere to a few percent."""
    shape = tuple(round(60 / step) for step in spacing)
    place = [
        (index - (side - 1) / 2) * step
        for index, side, step in zip(np.indices(shape), shape, spacing, strict=True)
    ]
    ball = sum(axis**2 for axis in place) < 24**2
    labels = np.where(ball, Tissue.GROUND_GLASS, Tissue.AERATED).astype(np.uint8)
    points = boundary_points(TissueMap(labels, Grid(shape, spacing)), 500.0, 0.5)
    expected_ml = 4 * math.pi * 24**2 * 0.5 / 1000
    assert points["lesion"] == pytest.approx(100 * expected_ml / 500, rel=0.04)
    assert points["ground_glass"] == points["lesion"]
    assert points["solid"] == 0


def test_parts_add_in_quadrature_and_are_widened_within_0_and_100() -> None:
    percent = {"lesion": 10.0, "ground_glass": 0.5, "solid": 9.5}
    parts = {"threshold": dict.fromkeys(SHARES, 3.0), "boundary": dict.fromkeys(SHARES, 4.0)}
    found = interval_of(percent, parts, replace(SURE, widening=dict.fromkeys(SHARES, 1.5)))
    assert found.percent["lesion"] == pytest.approx((2.5, 17.5))
    assert found.percent["ground_glass"] == pytest.approx((0, 8))
    doubt = replace(SURE, reference={**NOTHING, "lesion": 0.2}, floor_points=1.0)
    found = interval_of(percent, {}, doubt)
    half = math.hypot(1, 0.2 * 10)
    assert found.percent["lesion"] == pytest.approx((10 - half, 10 + half))
    assert found.parts["reference"]["lesion"] == pytest.approx(2)
    assert found.percent["solid"] == pytest.approx((8.5, 10.5))
    assert found.parts["floor"] == dict.fromkeys(SHARES, 1.0)


def box_scan(hu_of_lesion: float) -> tuple[TissueMap, CtScan]:
    """Two boxes of lung; a cube of lesion, all of it called ground glass, in one of them."""
    grid = Grid((40, 60, 100), (2.0, 2.0, 2.0), direction_lps=((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    labels = np.zeros(grid.shape_kji, np.uint8)
    labels[2:38, 5:55, 5:45] = labels[2:38, 5:55, 55:95] = Tissue.AERATED
    labels[10:20, 10:20, 10:20] = Tissue.GROUND_GLASS
    hu = np.where(labels == 0, 40, -850).astype(np.float32)
    hu[labels == Tissue.GROUND_GLASS] = hu_of_lesion
    doubt = replace(SURE, points={"threshold": {"lesion": 0.1, "ground_glass": 0.1, "solid": 0.0}})
    scan = CtScan(hu, grid, SeriesInfo("1", 40, (2, 2, 2)))
    return with_sides(TissueMap(labels, grid, doubt=doubt), scan, CONFIG.tidy), scan


def test_a_measured_scan_carries_the_segmenters_doubt() -> None:
    tissue, scan = box_scan(-600)
    found = measure(tissue, scan, CONFIG.measure, CONFIG.interval)
    share = 100 * 1000 / (2 * 36 * 50 * 40)
    assert found.volumes_ml.percent_of_lung()["lesion"] == pytest.approx(share)
    boundary = 100 * (2 / 3 * 6 * 20**2) * CONFIG.interval.boundary_mm / (2 * 36 * 50 * 40 * 8)
    assert found.interval.parts["boundary"]["lesion"] == pytest.approx(boundary)
    half = math.hypot(0.1, boundary)
    assert found.interval.percent["lesion"] == pytest.approx((share - half, share + half))
    assert measure(replace(tissue, doubt=None), scan, CONFIG.measure, CONFIG.interval).interval is None


@pytest.mark.parametrize("undecided_percent", [3.0, 0.1])
def test_undecided_lung_widens_the_interval_by_what_is_no_rim_of_the_lesion(undecided_percent: float) -> None:
    """A rim of one pixel, 1.4 mm, of a cube with sides of 20 mm is undecided around any lesion."""
    tissue, scan = box_scan(-600)
    doubt = replace(SURE, undecided_percent=undecided_percent, undecided_weight=0.5)
    measured = measure(replace(tissue, doubt=doubt), scan, CONFIG.measure, CONFIG.interval)
    found, share = measured.interval, measured.volumes_ml.percent_of_lung()["lesion"]
    rim_percent = 100 * (2 / 3 * 6 * 20**2) * 1.4 / (2 * 36 * 50 * 40 * 8)
    left = 0.5 * max(0.0, undecided_percent - rim_percent)
    assert found.parts["undecided"] == pytest.approx({"lesion": left, "ground_glass": left, "solid": 0.0})
    half = math.hypot(found.parts["boundary"]["lesion"], left)
    assert found.percent["lesion"] == pytest.approx((max(0.0, share - half), share + half))
    assert undecided_points(5.0, 2.0, 0.5)["lesion"] == 1.5
    unweighted = replace(doubt, undecided_weight=0.0)
    found = measure(replace(tissue, doubt=unweighted), scan, CONFIG.measure, CONFIG.interval).interval
    assert "undecided" not in found.parts, "a model that was calibrated without it"


def test_under_the_hu_rule_an_offset_moves_the_cut() -> None:
    """Every lesion voxel lies 5 HU below the cut between ground glass and solid: 10 HU carry all of it across."""
    tissue, scan = box_scan(-305)
    rule = CONFIG.measure.model_copy(update={"component_rule": "hu"})
    doubt = replace(SURE, points={"hu_offset": dict.fromkeys(SHARES, 0.0)})
    found = measure(replace(tissue, doubt=doubt), scan, rule, CONFIG.interval)
    share = found.volumes_ml.percent_of_lung()["lesion"]
    assert found.interval.parts["hu_offset"]["solid"] == pytest.approx(share / 2)
    assert found.interval.parts["hu_offset"]["lesion"] == 0


def test_what_was_fitted_covers_its_level() -> None:
    """Errors of a known normal spread: the interval must hold 95 % of fresh ones, give or take chance."""
    rng = np.random.default_rng(0)

    def drawn(count: int) -> list[Block]:
        true = rng.uniform(5, 30, count)
        error = rng.normal(0, 1.5, count)
        moved = {"threshold": dict.fromkeys(SHARES, 0.7)}
        return [
            Block("k", str(n), {"lesion": t + e, "ground_glass": 0, "solid": 0}, {"lesion": t}, moved)
            for n, (t, e) in enumerate(zip(true, error, strict=True))
        ]

    blocks = drawn(400)
    for block in blocks:
        block.truth.update({"ground_glass": 0.0, "solid": 0.0})
    calibration = fitted(blocks)
    held = coverage(blocks, calibration)["k"]["lesion"]
    assert held["covered"] >= 0.95 * 400
    fresh = coverage(drawn(2000), calibration)["k"]["lesion"]
    assert 0.92 <= fresh["covered"] / 2000 <= 0.98


def test_many_easy_draws_do_not_narrow_the_intervals_of_harder_cases() -> None:
    """Of some 420 blocks an easy chest gives 400: over all of them, its errors alone would set the factor."""
    moved = {"threshold": dict.fromkeys(SHARES, 1.0)}

    def off_by(error: float, kind: str, case: str, count: int) -> list[Block]:
        found = dict.fromkeys(SHARES, 10.0 + error)
        return [Block(kind, f"{case} {n:03d}", found, dict.fromkeys(SHARES, 10.0), moved) for n in range(count)]

    easy = off_by(0.5, DRAWN, "chest-1", 400)
    for hard in (off_by(4.0, DRAWN, "chest-2", SOURCE_BLOCKS), off_by(4.0, "slices", "case", SOURCE_BLOCKS)):
        held = coverage([*easy, *hard], fitted([*easy, *hard]))
        assert held[hard[0].kind]["lesion"]["covered"] == held[hard[0].kind]["lesion"]["blocks"]
        worst = replace(hard[0], percent=dict.fromkeys(SHARES, 90.0))
        held = coverage([*easy, *hard], fitted([*easy, *hard[1:], worst]))
        assert held[hard[0].kind]["lesion"]["median_half_width"] < 10, "the largest error of ten does not decide"


def test_undecided_lung_is_counted_where_it_goes_with_the_error() -> None:
    """Shares that are off by what is undecided: a factor for all would widen those in which nothing is."""
    moved = {"threshold": dict.fromkeys(SHARES, 0.5)}

    def off_by(error: float, undecided: float, n: int) -> Block:
        shares, truth = (dict.fromkeys(SHARES, percent) for percent in (30.0 - error, 30.0))
        return Block("k", str(n), shares, truth, moved, undecided)

    found = [off_by(9.5 if n % 5 == 0 else 0.5, 9.0 if n % 5 == 0 else 0.0, n) for n in range(100)]
    calibration = fitted(found)
    assert calibration["undecided"] > 0
    half = {n: coverage([found[n]], calibration)["k"]["lesion"]["median_half_width"] for n in (0, 1)}
    assert half[1] < 4 < 9 < half[0]
    certain = [replace(block, undecided=0.0) for block in found]
    assert coverage(certain, fitted(certain))["k"]["lesion"]["median_half_width"] > 2 * half[1]


def test_a_floor_is_chosen_where_what_is_missed_moves_nothing() -> None:
    """Shares three points off though no part moves: with a low floor the factor would widen all intervals."""
    quiet = {"threshold": dict.fromkeys(SHARES, 0.01)}
    loud = {"threshold": dict.fromkeys(SHARES, 1.0)}
    missed = [Block("k", str(n), dict.fromkeys(SHARES, 0.0), dict.fromkeys(SHARES, 3.0), quiet) for n in range(20)]
    seen = [Block("k", str(n), dict.fromkeys(SHARES, 9.0), dict.fromkeys(SHARES, 10.0), loud) for n in range(60)]
    calibration = fitted(missed + seen)
    assert calibration["floor_points"] == 2.0
    assert coverage(missed + seen, calibration)["k"]["lesion"]["covered"] == 80
    assert coverage(seen, calibration)["k"]["lesion"]["median_half_width"] < 5


def test_no_factor_narrows_what_moves_a_share() -> None:
    sure = [Block("k", str(n), *[dict.fromkeys(SHARES, 10.0)] * 2, {}) for n in range(20)]
    calibration = fitted(sure)
    assert calibration["widening"] == dict.fromkeys(SHARES, 1.0)
    assert calibration["floor_points"] == 1.0
