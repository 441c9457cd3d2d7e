"""Consolidation that the lung mask left out is found between lung and ribs, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scenes import scan_of

from volumetry.config import Config, load_config
from volumetry.domain import CtScan, Finding, Grid, Side, Tissue, TissueMap
from volumetry.measure import measure
from volumetry.phantom import PhantomSpec, make_phantom
from volumetry.phantom.thorax import truth_map
from volumetry.quality import lung_findings
from volumetry.quality.missed_consolidation import dense_tissue_findings, tissue_outside_lungs
from volumetry.scan import read_scan
from volumetry.training.threshold_lungs import threshold_lungs

GRID = Grid((84, 90, 140), (2.5, 2.0, 2.0), origin_lps_mm=(-139.0, -89.0, 0.0))
Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
DORSAL_RIGHT: Box = ((-110, -50), (40, 70), (30, 80))
DORSAL_LEFT: Box = ((60, 110), (46, 70), (110, 150))
BESIDE_LEFT: Box = ((90, 120), (-40, 20), (90, 150))


def _inside(box: Box) -> NDArray[np.bool_]:
    """Voxels whose centre lies in a box of LPS mm."""
    position = GRID.lps_mm(np.stack(np.indices(GRID.shape_kji), axis=-1).astype(float))
    return np.all(
        [(position[..., n] >= low) & (position[..., n] < high) for n, (low, high) in enumerate(box)], axis=0
    )


def _ml(box: Box) -> float:
    return float(np.prod([high - low for low, high in box])) / 1000


def _chest() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Two box lungs in a cage of ribs; spine, aorta, heart, a liver that reaches the ribs; noise of 15 HU."""
    hu = np.full(GRID.shape_kji, -1000, np.float32)
    hu[_inside(((-134, 134), (-84, 84), (-10, 400)))] = 45
    cage = _inside(((-128, 128), (-78, 78), (-10, 400))) & ~_inside(((-120, 120), (-70, 70), (-10, 400)))
    ribs = (np.arange(GRID.shape_kji[0]) // 4 % 2 == 0)[:, None, None]  # 10 mm of every 20 mm
    hu[cage & ribs] = 400
    hu[_inside(((-20, 20), (45, 84), (-10, 400)))] = 300
    lung = np.zeros(GRID.shape_kji, bool)
    for side in ((22, 120), (-120, -22)):
        lung |= _inside((side, (-70, 70), (20, 190)))
    lung &= ~_inside(((-120, -22), (-70, 20), (20, 70)))  # liver
    lung &= ~_inside(((10, 80), (-60, 20), (20, 110)))  # heart
    lung &= ~_inside(((0, 45), (30, 60), (20, 190)))  # aorta
    hu[lung] = -850
    hu += np.random.default_rng(5).normal(0, 15, hu.shape).astype(np.float32)
    return hu, lung


def _with(hu: NDArray[np.float32], box: Box, level_hu: float) -> NDArray[np.float32]:
    filled = hu.copy()
    where = _inside(box)
    filled[where] = level_hu + np.random.default_rng(6).normal(0, 15, int(where.sum()))
    return filled


def _found(hu: NDArray[np.float32], mask: NDArray[np.bool_], config: Config) -> dict[str, Finding]:
    tissue = TissueMap(mask.astype(np.uint8), GRID)
    return {finding.code: finding for finding in dense_tissue_findings(tissue, scan_of(hu, GRID), config)}


@pytest.mark.parametrize(
    ("box", "place"),
    [
        (DORSAL_RIGHT, "right lower zone"),
        (DORSAL_LEFT, "left middle zone"),
        (BESIDE_LEFT, "left middle zone"),
    ],
)
def test_consolidation_left_out_is_found_with_its_volume_and_place(config: Config, box: Box, place: str) -> None:
    hu, lung = _chest()
    found = _found(_with(hu, box, 35), lung & ~_inside(box), config)
    assert list(found) == ["DENSE_TISSUE_OUTSIDE_LUNG"]
    assert found["DENSE_TISSUE_OUTSIDE_LUNG"].value == pytest.approx(_ml(box), rel=0.08)
    assert place in found["DENSE_TISSUE_OUTSIDE_LUNG"].message


@pytest.mark.parametrize("box", [DORSAL_RIGHT, DORSAL_LEFT, BESIDE_LEFT])
def test_consolidation_inside_the_mask_says_nothing(config: Config, box: Box) -> None:
    hu, lung = _chest()
    assert _found(_with(hu, box, 35), lung, config) == {}


def test_two_of_them_add_up_in_one_flag(config: Config) -> None:
    hu, lung = _chest()
    both = _with(_with(hu, DORSAL_RIGHT, 35), DORSAL_LEFT, 40)
    found = _found(both, lung & ~_inside(DORSAL_RIGHT) & ~_inside(DORSAL_LEFT), config)
    assert found["DENSE_TISSUE_OUTSIDE_LUNG"].value == pytest.approx(
        _ml(DORSAL_RIGHT) + _ml(DORSAL_LEFT), rel=0.08
    )


def test_fluid_and_pale_consolidation_are_found_too(config: Config) -> None:
    hu, lung = _chest()
    found = _found(_with(hu, DORSAL_RIGHT, 8), lung & ~_inside(DORSAL_RIGHT), config)["DENSE_TISSUE_OUTSIDE_LUNG"]
    assert found.value == pytest.approx(_ml(DORSAL_RIGHT), rel=0.08)
    assert "about 8 HU" in found.message


@pytest.mark.parametrize(("box", "side"), [(DORSAL_LEFT, Side.LEFT), (DORSAL_RIGHT, Side.RIGHT)])
def test_of_a_single_lung_it_is_found_as_of_two(box: Box, side: Side) -> None:
    """The spine lies beside that lung, and not in its middle."""
    hu, lung = _chest()
    other: Box = ((-140, 0) if side == Side.LEFT else (0, 140), (-90, 90), (-10, 400))
    mask = lung & ~_inside(other) & ~_inside(box)
    sides = np.where(mask, np.uint8(side), np.uint8(Side.NONE))
    tissue = TissueMap(mask.astype(np.uint8), GRID, side_kji=sides)
    (body,) = tissue_outside_lungs(tissue, scan_of(_with(hu, box, 35), GRID))
    assert body.ml == pytest.approx(_ml(box), rel=0.08)
    assert body.side == side.name.lower()


def test_what_the_mask_has_as_fluid_is_not_said_again(config: Config) -> None:
    hu, lung = _chest()
    fluid = _inside(DORSAL_RIGHT)
    tissue = TissueMap((lung & ~fluid).astype(np.uint8), GRID, fluid_kji=fluid)
    assert list(dense_tissue_findings(tissue, scan_of(_with(hu, DORSAL_RIGHT, 8), GRID), config)) == []


def test_fat_inside_the_ribs_and_a_thickened_pleura_say_nothing(config: Config) -> None:
    hu, lung = _chest()
    assert _found(_with(hu, DORSAL_RIGHT, -100), lung & ~_inside(DORSAL_RIGHT), config) == {}
    thin: Box = ((-110, -50), (64, 70), (30, 150))
    assert _found(_with(hu, thin, 35), lung & ~_inside(thin), config) == {}


def test_less_than_the_setting_is_no_flag() -> None:
    hu, lung = _chest()
    strict = load_config(overrides={"quality": {"dense_outside_flag_ml": 1.2 * _ml(DORSAL_RIGHT)}})
    assert _found(_with(hu, DORSAL_RIGHT, 35), lung & ~_inside(DORSAL_RIGHT), strict) == {}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_order_of_the_array_does_not_matter(axis: int) -> None:
    hu, lung = _chest()
    hu, mask = _with(hu, DORSAL_RIGHT, 35), (lung & ~_inside(DORSAL_RIGHT)).astype(np.uint8)
    (straight,) = tissue_outside_lungs(TissueMap(mask, GRID), scan_of(hu, GRID))
    directions = [list(one) for one in GRID.direction_lps]
    directions[axis] = [-value for value in directions[axis]]
    other = replace(GRID, direction_lps=tuple(tuple(one) for one in directions))
    flipped = TissueMap(np.flip(mask, axis).copy(), other)
    (turned,) = tissue_outside_lungs(flipped, scan_of(np.flip(hu, axis).copy(), other))
    assert (turned.side, turned.zone) == (straight.side, straight.zone) == ("right", "lower")
    assert turned.ml == pytest.approx(straight.ml, rel=1e-6)


def test_it_is_one_of_the_findings_of_the_lungs(config: Config) -> None:
    hu, lung = _chest()
    hu, mask = _with(hu, DORSAL_RIGHT, 35), lung & ~_inside(DORSAL_RIGHT)
    right = np.arange(GRID.shape_kji[2]) < GRID.shape_kji[2] // 2
    side = np.where(mask, np.where(right, Side.RIGHT, Side.LEFT), 0).astype(np.uint8)
    tissue, scan = TissueMap(mask.astype(np.uint8), GRID, side), scan_of(hu, GRID)
    found = {
        finding.code for finding in lung_findings(tissue, scan, measure(tissue, scan, config.measure), config)
    }
    assert found == {"DENSE_TISSUE_OUTSIDE_LUNG"}


def test_a_drawn_chest_whose_ribs_are_a_tube_says_nothing() -> None:
    spec = PhantomSpec((100, 128, 128), (3.0, 2.6, 2.6))
    scan = scan_of(make_phantom(spec).hu_kji, spec.grid)
    assert tissue_outside_lungs(truth_map(spec), scan) == []


@pytest.mark.parametrize("mask", [False, True])
def test_without_bone_or_without_lung_there_is_nothing_to_say(mask: bool) -> None:
    hu = np.full(GRID.shape_kji, 40, np.float32)
    labels = np.zeros(GRID.shape_kji, np.uint8)
    if mask:
        labels[20:60, 20:60, 20:120] = Tissue.AERATED
    else:
        hu[:] = 400
    assert tissue_outside_lungs(TissueMap(labels, GRID), scan_of(hu, GRID)) == []


def _every_third_pixel(scan: CtScan) -> CtScan:
    k_mm, j_mm, i_mm = scan.grid.spacing_kji_mm
    hu = np.ascontiguousarray(scan.hu_kji[:, ::3, ::3])
    return scan_of(hu, replace(scan.grid, shape_kji=hu.shape, spacing_kji_mm=(k_mm, 3 * j_mm, 3 * i_mm)))


@pytest.mark.real_data
def test_a_real_normal_chest_is_silent_until_consolidation_is_left_out(shared, config: Config) -> None:
    scan = _every_third_pixel(read_scan(shared / "data" / "hrct" / "normal-001", config))
    lungs = threshold_lungs(scan.hu_kji, scan.grid.spacing_kji_mm)
    tissue = TissueMap(lungs.astype(np.uint8), scan.grid)
    assert tissue_outside_lungs(tissue, scan) == []

    lung = tissue.labels_kji > 0
    row = np.arange(lung.shape[1])[None, :, None]
    back = lung & (row > np.where(lung, row, -1).max(axis=1, keepdims=True) - 25 / scan.grid.spacing_kji_mm[1])
    back[:, :, lung.shape[2] // 2 :] = False  # the patient's right
    back[70:] = False
    hu = np.where(back, np.float32(35), scan.hu_kji)
    labels = np.where(back, np.uint8(0), tissue.labels_kji)
    found = list(dense_tissue_findings(TissueMap(labels, scan.grid), replace(scan, hu_kji=hu), config))
    assert [finding.code for finding in found] == ["DENSE_TISSUE_OUTSIDE_LUNG"]
    # A lower bound: what lies before the spine, and where no lung is left in front, is not looked at.
    made_ml = np.count_nonzero(back) * scan.grid.voxel_ml
    assert 0.35 * made_ml < float(found[0].value or 0) < 1.05 * made_ml
    assert "right" in found[0].message
    assert "left" not in found[0].message
