"""Lesion that is organ, fat or bone is told with its volume and place; a mask that is right earns nothing."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import CtScan, Grid, SeriesInfo, Side, Tissue, TissueMap
from volumetry.quality.places import images
from volumetry.quality.suspect_solid import suspect_findings, suspect_mask, suspect_solid
from volumetry.quality.weight import volumes_of

GRID = Grid((100, 80, 120), (2.0, 2.5, 2.5), origin_lps_mm=(0.0, 0.0, -300.0))
VOXEL_ML = 0.0125
Part = tuple[slice, slice, slice]
CONSOLIDATION: Part = np.s_[40:60, 50:70, 70:100]  # at the back wall of the left lung
DOME: Part = np.s_[15:17, 20:60, 20:50]  # 4 mm of liver below the right lung
APEX: Part = np.s_[90:92, 20:40, 70:100]  # neck muscle above the left lung
FAT: Part = np.s_[30:44, 14:24, 50:70]  # beside the heart
BONE: Part = np.s_[50:64, 70:76, 30:40]  # a rib behind the right lung
HILUM: Part = np.s_[50:58, 36:48, 70:79]  # 11 mL beside the mediastinum, in the middle of height and depth
WALL: Part = np.s_[50:58, 30:42, 106:114]  # 10 mL of muscle beside the left lung; 71 % of its surface is outside
OVER_APEX: Part = np.s_[86:96, 30:42, 84:96]  # 18 mL, half of them above the left lung; 56 % of the surface


def _chest() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Two lungs in muscle, a liver, fat, a rib, and consolidation in the left lung; with its right mask."""
    hu = np.full(GRID.shape_kji, 50, np.float32)
    labels = np.zeros(GRID.shape_kji, np.uint8)
    for lung in (np.s_[20:90, 10:70, 12:50], np.s_[20:90, 10:70, 70:108]):
        hu[lung], labels[lung] = -850, Tissue.AERATED
    hu[25:50, 10:28, 46:74] = -100
    labels[25:50, 10:28, 46:74] = Tissue.OUTSIDE
    hu[48:66, 68:78, 28:42] = 400
    labels[48:66, 68:78, 28:42] = Tissue.OUTSIDE
    hu[CONSOLIDATION], labels[CONSOLIDATION] = 35, Tissue.SOLID
    hu += np.random.default_rng(4).normal(0, 12, hu.shape).astype(np.float32)
    return hu, labels


def _scan(hu: NDArray[np.float32], grid: Grid = GRID) -> CtScan:
    return CtScan(hu, grid, SeriesInfo("1.2.3", grid.shape_kji[0], grid.spacing_kji_mm))


def _ml(part: Part) -> float:
    return float(np.prod([at.stop - at.start for at in part])) * VOXEL_ML


def test_consolidation_at_the_wall_is_no_suspect() -> None:
    hu, labels = _chest()
    assert suspect_solid(TissueMap(labels, GRID), _scan(hu)) == []


@pytest.mark.parametrize(
    ("part", "reason", "place"),
    [
        (DOME, "slab", ("right", "lower")),
        (APEX, "slab", ("left", "upper")),
        (FAT, "fat", ("right", "lower")),
        (BONE, "dense", ("right", "middle")),
        (HILUM, "hilum", ("left", "middle")),
        (WALL, "wall", ("left", "middle")),
        (OVER_APEX, "wall", ("left", "upper")),
    ],
)
def test_what_is_no_lesion_is_told_with_volume_reason_and_place(
    part: Part, reason: str, place: tuple[str, str]
) -> None:
    hu, labels = _chest()
    labels[part] = Tissue.SOLID
    if reason in ("hilum", "wall"):
        hu[part] = 40
    (suspect,) = suspect_solid(TissueMap(labels, GRID), _scan(hu))
    assert suspect.ml[reason] == pytest.approx(suspect.total_ml, rel=0.02)  # a slab's corners lie as a wall does
    # Blocks at the edge of fat and bone are mixed with their surroundings: 3 blocks of 2 to 2.5 mm are averaged.
    assert suspect.total_ml == pytest.approx(_ml(part), rel=0.02 if reason == "slab" else 0.4)
    assert (suspect.side, suspect.zone) == place
    assert part[0].start <= suspect.slices[0] <= suspect.slices[1] < part[0].stop


@pytest.mark.parametrize(
    "part",
    [
        np.s_[50:58, 36:48, 96:105],  # near the ribs
        np.s_[50:58, 12:24, 70:79],  # in front
        np.s_[50:58, 56:68, 70:79],  # at the spine
        np.s_[76:84, 36:48, 70:79],  # near the apex
        np.s_[26:34, 36:48, 70:79],  # near the base
        np.s_[46:62, 32:52, 70:79],  # 36 mL
        np.s_[52:55, 40:46, 70:76],  # 1 mL
    ],
)
def test_consolidation_of_another_place_or_size_is_no_hilum(part: Part) -> None:
    hu, labels = _chest()
    hu[part], labels[part] = 40, Tissue.SOLID
    assert suspect_solid(TissueMap(labels, GRID), _scan(hu)) == []


@pytest.mark.parametrize(
    "part",
    [
        np.s_[50:58, 30:42, 103:113],  # as far in the wall as in the lung: half of the surface is outside
        np.s_[46:66, 20:60, 106:114],  # 80 mL: as a consolidation that fills a lobe would
        np.s_[50:54, 36:40, 107:111],  # 1 mL
    ],
)
def test_consolidation_at_the_wall_and_partly_in_it_is_none(part: Part) -> None:
    hu, labels = _chest()
    hu[part], labels[part] = 40, Tissue.SOLID
    assert suspect_solid(TissueMap(labels, GRID), _scan(hu)) == []


def test_consolidation_at_the_wall_in_ground_glass_is_none() -> None:
    """A third of its surface is ground glass, and 60 % against the wall."""
    hu, labels = _chest()
    around, body = np.s_[48:60, 28:44, 98:108], np.s_[50:58, 30:42, 104:116]
    hu[around], labels[around] = -600, Tissue.GROUND_GLASS
    hu[body], labels[body] = 40, Tissue.SOLID
    assert suspect_solid(TissueMap(labels, GRID), _scan(hu)) == []


@pytest.mark.parametrize(("height", "is_hilum"), [(4, True), (40, False)])
def test_a_hilum_that_is_joined_to_a_consolidation_is_told(height: int, is_hilum: bool) -> None:
    """By a bridge of 4 slices the vessels join it with 8 % of their surface; a filled lobe passes through."""
    hu, labels = _chest()
    consolidation, bridge = np.s_[36:66, 54:70, 70:100], np.s_[54 - height // 2 : 54 + height // 2, 44:56, 70:79]
    for part in (HILUM, bridge, consolidation):
        hu[part], labels[part] = 40, Tissue.SOLID
    found = suspect_mask(TissueMap(labels, GRID), _scan(hu))
    assert found[HILUM].all() == is_hilum
    assert found[HILUM].any() == is_hilum
    assert not found[consolidation].any()


def test_of_a_single_lung_no_hilum_is_named() -> None:
    """Where its middle would be taken for the mediastinum."""
    hu, labels = _chest()
    labels[:, :, :60] = Tissue.OUTSIDE
    body = np.s_[50:58, 36:48, 78:87]  # a third of the half width beside the middle of the one lung
    hu[body], labels[body] = 40, Tissue.SOLID
    sides = np.where(labels > 0, np.uint8(Side.LEFT), np.uint8(Side.NONE))
    assert suspect_solid(TissueMap(labels, GRID, side_kji=sides), _scan(hu)) == []
    wall = np.s_[50:58, 30:42, 106:114], np.s_[50:58, 30:42, 64:72]
    for part in wall:  # at either face of the left lung, whose middle is not that of the chest
        only = labels.copy()
        only[body] = Tissue.AERATED
        only[part] = Tissue.SOLID
        (named,) = suspect_solid(TissueMap(only, GRID, side_kji=sides), _scan(np.where(only == 3, 40, hu)))
        assert named.side == "left"
    (unsided,) = suspect_solid(TissueMap(labels, GRID), _scan(hu))  # nobody has said that it is one lung
    assert set(unsided.ml) == {"hilum"}


def test_consolidation_in_ground_glass_is_no_hilum() -> None:
    hu, labels = _chest()
    around = np.s_[46:62, 32:52, 70:83]
    hu[around], labels[around] = -600, Tissue.GROUND_GLASS
    hu[HILUM], labels[HILUM] = 40, Tissue.SOLID
    assert suspect_solid(TissueMap(labels, GRID), _scan(hu)) == []


def test_a_thick_lesion_above_the_diaphragm_is_none() -> None:
    """It ends in liver of its own density as a slab does, and is 20 mm high."""
    hu, labels = _chest()
    base = np.s_[20:30, 20:60, 20:50]
    hu[base], labels[base] = 50, Tissue.SOLID
    assert suspect_solid(TissueMap(labels, GRID), _scan(hu)) == []


def test_vessels_full_of_contrast_are_denser_than_any_lesion_and_enhanced_tumours_are_not() -> None:
    hu, labels = _chest()
    hu[CONSOLIDATION] += 75  # 110 HU
    tissue = TissueMap(labels, GRID)
    assert suspect_solid(tissue, _scan(hu), blood_hu=250.0) == []
    assert suspect_solid(tissue, _scan(hu), blood_hu=None) == []
    (plain,) = suspect_solid(tissue, _scan(hu), blood_hu=40.0)
    assert set(plain.ml) == {"dense"}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_order_of_the_array_does_not_matter(axis: int) -> None:
    hu, labels = _chest()
    labels[DOME] = Tissue.SOLID
    (straight,) = suspect_solid(TissueMap(labels, GRID), _scan(hu))
    directions = list(GRID.direction_lps)
    directions[axis] = tuple(-x for x in directions[axis])
    grid = replace(GRID, direction_lps=tuple(directions))
    flipped = TissueMap(np.flip(labels, axis).copy(), grid)
    (turned,) = suspect_solid(flipped, _scan(np.flip(hu, axis).copy(), grid))
    assert (turned.side, turned.zone, turned.ml) == (straight.side, straight.zone, straight.ml)
    mirrored = (99 - straight.slices[1], 99 - straight.slices[0])
    assert turned.slices == (mirrored if axis == 0 else straight.slices)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_mask_of_what_is_no_lesion_is_the_body_in_any_order_of_the_array(axis: int) -> None:
    hu, labels = _chest()
    labels[DOME] = Tissue.SOLID
    directions = list(GRID.direction_lps)
    directions[axis] = tuple(-x for x in directions[axis])
    grid = replace(GRID, direction_lps=tuple(directions))
    flipped = TissueMap(np.flip(labels, axis).copy(), grid)
    found = suspect_mask(flipped, _scan(np.flip(hu, axis).copy(), grid))
    expected = np.zeros(labels.shape, bool)
    expected[DOME] = True
    assert (np.flip(found, axis) == expected).mean() > 0.9999
    assert np.count_nonzero(found & (flipped.labels_kji <= Tissue.AERATED)) == 0


@pytest.mark.parametrize(("deep", "in_doubt"), [(4, True), (30, False)])
def test_the_smaller_rest_of_a_lesion_in_doubt_is_in_doubt_too(deep: int, in_doubt: bool) -> None:
    """Ground glass before 14 blocks of chest wall: 4 blocks deep it is the smaller part, 30 deep the larger."""
    hu, labels = _chest()
    wall, haze = np.s_[50:58, 30:42, 106:120], np.s_[50:58, 30:42, 106 - deep : 106]
    hu[wall], labels[wall] = 40, Tissue.SOLID
    hu[haze], labels[haze] = -600, Tissue.GROUND_GLASS
    found = suspect_mask(TissueMap(labels, GRID), _scan(hu))
    assert found[wall].all()
    assert found[haze].all() == in_doubt


def test_a_right_mask_has_no_suspect_voxel() -> None:
    hu, labels = _chest()
    assert not suspect_mask(TissueMap(labels, GRID), _scan(hu)).any()


def test_the_flag_says_where_and_how_far_it_moves_the_share() -> None:
    hu, labels = _chest()
    labels[DOME] = Tissue.SOLID
    tissue = TissueMap(labels, GRID)
    volumes = volumes_of(tissue)
    scan = replace(_scan(hu), image_numbers=tuple(range(100, 0, -1)))
    points = 100 * (volumes.lesion / volumes.lung - (volumes.lesion - _ml(DOME)) / (volumes.lung - _ml(DOME)))
    for move_points, outcome in ((0.9 * points, Outcome.FLAG), (1.1 * points, Outcome.NOTE)):
        config = load_config(overrides={"quality": {"move_points": move_points}})
        (finding,) = suspect_findings(tissue, scan, volumes, None, config)
        assert (finding.code, finding.outcome) == ("SUSPECT_SOLID", outcome)
        assert "right lower zone 30.0 mL, images 84 to 85, z -270.0 to -268.0 mm" in finding.message
        assert f"{points:.2f} points lower" in finding.message
    trial = load_config(overrides={"profile": "trial", "quality": {"move_points": 1.1 * points}})
    assert [f.outcome for f in suspect_findings(tissue, scan, volumes, None, trial)] == [Outcome.FLAG]


def test_images_are_named_as_a_viewer_names_them() -> None:
    scan = _scan(np.zeros(GRID.shape_kji, np.float32))
    assert images(scan, [3, 5]) == "slices 3 to 5 of 100 counted from 0, z -294.0 to -290.0 mm"
    numbered = replace(scan, image_numbers=tuple(range(200, 100, -1)))
    assert images(numbered, [5, 3]) == "images 195 to 197, z -294.0 to -290.0 mm"
    assert images(numbered, [7]) == "image 193, z -286.0 mm"
    assert images(replace(scan, image_numbers=(None,) * 100), [7]) == "slice 7 of 100 counted from 0, z -286.0 mm"
    coronal = replace(GRID, direction_lps=((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0)))
    assert images(_scan(scan.hu_kji, coronal), [7]) == "slice 7 of 100 counted from 0, y 14.0 mm"
