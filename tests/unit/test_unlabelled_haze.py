"""Aerated lung that is evenly denser than the rest is told with volume and place; healthy lung earns nothing."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import CtScan, Grid, SeriesInfo, Side, Tissue, TissueMap
from volumetry.quality.unlabelled_haze import haze_findings, unlabelled_haze
from volumetry.quality.weight import volumes_of

GRID = Grid((100, 80, 120), (2.0, 2.0, 2.0), origin_lps_mm=(0.0, 0.0, -300.0))
VOXEL_ML = 0.008
RIGHT, LEFT = np.s_[10:90, 10:70, 12:56], np.s_[10:90, 10:70, 64:108]
Part = tuple[slice, slice, slice]
HAZE: Part = np.s_[20:44, 30:54, 72:96]  # 48 mm to each side, 110.6 mL, in the left lung
INNER: Part = np.s_[24:40, 34:50, 76:92]  # without the outermost 8 mm: 32.8 mL


def _chest() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Two lungs of -860 HU in muscle, noise of 25 HU in a voxel, a vessel of 4 mm every 16 mm; its right mask."""
    hu = np.full(GRID.shape_kji, 50, np.float32)
    labels = np.zeros(GRID.shape_kji, np.uint8)
    for lung in (RIGHT, LEFT):
        hu[lung], labels[lung] = -860, Tissue.AERATED
    vessels = np.zeros(GRID.shape_kji, bool)
    for j in range(2):
        for i in range(2):
            vessels[:, j::8, i::8] = True
    hu[vessels & (labels > 0)] = 0
    return hu + np.random.default_rng(4).normal(0, 25, hu.shape).astype(np.float32), labels


def _scan(hu: NDArray[np.float32], grid: Grid = GRID) -> CtScan:
    return CtScan(hu.astype(np.float32), grid, SeriesInfo("1.2.3", grid.shape_kji[0], grid.spacing_kji_mm))


def _ml(part: Part) -> float:
    return float(np.prod([at.stop - at.start for at in part])) * VOXEL_ML


def test_haze_that_has_no_label_is_told_with_a_volume_that_is_no_more_than_it_has_and_its_place() -> None:
    hu, labels = _chest()
    hu[HAZE] += 120
    (found,) = unlabelled_haze(TissueMap(labels, GRID), _scan(hu))
    assert _ml(INNER) <= found.ml <= _ml(HAZE)
    assert (found.side, found.zone) == ("left", "lower")
    assert found.median_hu == pytest.approx(-740, abs=15)  # between the vessels
    assert HAZE[0].start <= found.slices[0] <= found.slices[1] < HAZE[0].stop


@pytest.mark.parametrize("part", [HAZE, np.s_[20:44, 30:54, 66:90]])
def test_of_a_single_lung_the_side_is_that_of_the_map(part: Part) -> None:
    """Either half of it, whose middle is not that of the chest."""
    hu, labels = _chest()
    hu[part] += 120
    labels[RIGHT] = Tissue.OUTSIDE
    sides = np.where(labels > 0, np.uint8(Side.LEFT), np.uint8(Side.NONE))
    (found,) = unlabelled_haze(TissueMap(labels, GRID, side_kji=sides), _scan(hu))
    assert found.side == "left"


def test_a_right_mask_of_a_healthy_lung_has_none() -> None:
    hu, labels = _chest()
    assert unlabelled_haze(TissueMap(labels, GRID), _scan(hu)) == []


@pytest.mark.parametrize("label", [Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.OUTSIDE])
def test_what_has_a_label_or_is_no_lung_has_none(label: Tissue) -> None:
    hu, labels = _chest()
    hu[HAZE] += 120
    labels[HAZE] = label
    assert unlabelled_haze(TissueMap(labels, GRID), _scan(hu)) == []


def test_lung_that_is_denser_towards_the_back_is_none() -> None:
    """By 200 HU from front to back, as in expiration."""
    hu, labels = _chest()
    hu += np.linspace(0, 200, hu.shape[1], dtype=np.float32)[None, :, None]
    assert unlabelled_haze(TissueMap(labels, GRID), _scan(hu)) == []


def test_haze_at_the_back_of_such_lung_is_told() -> None:
    hu, labels = _chest()
    hu += np.linspace(0, 100, hu.shape[1], dtype=np.float32)[None, :, None]
    hu[HAZE] += 120
    (found,) = unlabelled_haze(TissueMap(labels, GRID), _scan(hu))
    assert _ml(INNER) <= found.ml <= _ml(HAZE)


@pytest.mark.parametrize(
    ("part", "more_hu"),
    [
        (HAZE, 40.0),  # within what lungs vary
        (np.s_[20:32, 30:42, 72:84], 120.0),  # 24 mm to each side: 13.8 mL
        (np.s_[50:56, 10:70, 64:108], 120.0),  # a plate of 12 mm
    ],
)
def test_haze_that_is_faint_small_or_thin_is_none(part: Part, more_hu: float) -> None:
    hu, labels = _chest()
    hu[labels > 0] += 60  # -800 HU
    hu[part] += more_hu
    assert unlabelled_haze(TissueMap(labels, GRID), _scan(hu)) == []


def test_the_better_part_of_an_emphysema_is_none() -> None:
    hu, labels = _chest()
    hu[labels > 0] -= 100
    hu[HAZE] += 110  # -850 HU among -960 HU
    assert unlabelled_haze(TissueMap(labels, GRID), _scan(hu)) == []


def test_small_nodules_and_vessels_are_none() -> None:
    """Every block of 4 mm has 80 HU more, as mixed with air, and half of them 250 HU more than the other half."""
    hu, labels = _chest()
    block = sum(np.indices(GRID.shape_kji) // 2) % 2
    hu[HAZE] += 80 + 250 * block[HAZE]
    assert unlabelled_haze(TissueMap(labels, GRID), _scan(hu)) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_order_of_the_array_does_not_matter(axis: int) -> None:
    hu, labels = _chest()
    hu[HAZE] += 120
    (straight,) = unlabelled_haze(TissueMap(labels, GRID), _scan(hu))
    directions = list(GRID.direction_lps)
    directions[axis] = tuple(-x for x in directions[axis])
    grid = replace(GRID, direction_lps=tuple(directions))
    flipped = TissueMap(np.flip(labels, axis).copy(), grid)
    (turned,) = unlabelled_haze(flipped, _scan(np.flip(hu, axis).copy(), grid))
    assert replace(turned, slices=straight.slices) == straight
    mirrored = (99 - straight.slices[1], 99 - straight.slices[0])
    assert turned.slices == (mirrored if axis == 0 else straight.slices)


@pytest.mark.parametrize("lung", [np.s_[0:0, 0:0, 0:0], np.s_[10:12, 10:12, 10:12], np.s_[10:18, 10:18, 10:18]])
def test_of_no_lung_or_next_to_none_nothing_is_said(lung: Part) -> None:
    hu, labels = _chest()
    labels[:] = Tissue.OUTSIDE
    labels[lung] = Tissue.AERATED
    assert unlabelled_haze(TissueMap(labels, GRID), _scan(hu)) == []


def test_the_flag_says_where_and_how_far_it_moves_the_share() -> None:
    hu, labels = _chest()
    hu[HAZE] += 120
    tissue, scan = TissueMap(labels, GRID), _scan(hu)
    volumes = volumes_of(tissue)
    (body,) = unlabelled_haze(tissue, scan)
    points = 100 * body.ml / volumes.lung
    for move_points, outcome in ((0.9 * points, Outcome.FLAG), (1.1 * points, Outcome.NOTE)):
        config = load_config(overrides={"quality": {"move_points": move_points}})
        (finding,) = haze_findings(tissue, scan, volumes, config)
        assert (finding.code, finding.outcome) == ("UNLABELLED_HAZE", outcome)
        assert finding.value == pytest.approx(body.ml, abs=0.001)
        assert f"left lower zone {body.ml:.0f} mL of about {body.median_hu:.0f} HU" in finding.message
        assert f"{points:.2f} points higher" in finding.message
    trial = load_config(overrides={"profile": "trial", "quality": {"move_points": 1.1 * points}})
    assert [f.outcome for f in haze_findings(tissue, scan, volumes, trial)] == [Outcome.FLAG]
