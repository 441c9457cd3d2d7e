"""Metal is told inside the body and near the lung; what lies on the skin, on the table or beside an arm is not."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import Config
from volumetry.domain import CtScan, Finding, Grid, SeriesInfo, Tissue, TissueMap
from volumetry.quality.metal import metal_findings

GRID = Grid((50, 150, 240), (4.0, 2.0, 2.0), origin_lps_mm=(-239.0, -149.0, -100.0))
Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Left, back, head in mm, from and to."""
TRUNK: Box = ((-150, 150), (-100, 100), (-200, 200))
ARM: Box = ((180, 230), (-30, 30), (-200, 200))
TABLE: Box = ((-200, 200), (120, 124), (-200, 200))
LUNGS: tuple[Box, Box] = (((30, 130), (-80, 80), (-60, 60)), ((-130, -30), (-80, 80), (-60, 60)))
CLIP: Box = ((-4, 4), (-4, 4), (-1, 9))

LESION: Box = ((40, 60), (0, 20), (-1, 9))


def _inside(box: Box) -> NDArray[np.bool_]:
    position = GRID.lps_mm(np.stack(np.indices(GRID.shape_kji), axis=-1).astype(float))
    return np.all(
        [(position[..., n] > low) & (position[..., n] < high) for n, (low, high) in enumerate(box)], axis=0
    )


def _found(
    metal: Box, config: Config, lesion: Box | None = None, vein: Box | None = None, blood_hu: float | None = None
) -> list[Finding]:
    hu = np.full(GRID.shape_kji, -1000, np.float32)
    labels = np.zeros(GRID.shape_kji, np.uint8)
    for box, level in ((TRUNK, 40), (ARM, 40), (TABLE, -100)):
        hu[_inside(box)] = level
    for box in LUNGS:
        hu[_inside(box)] = -850
        labels[_inside(box)] = Tissue.AERATED
    if lesion is not None:
        labels[_inside(lesion)] = Tissue.GROUND_GLASS
    if vein is not None:
        hu[_inside(vein)] = 1500
    hu[_inside(metal)] = 3071
    numbers = tuple(range(GRID.shape_kji[0], 0, -1))
    series = SeriesInfo("1.2.3", GRID.shape_kji[0], GRID.spacing_kji_mm)
    scan = replace(CtScan(hu, GRID, series), image_numbers=numbers)
    return list(metal_findings(TissueMap(labels, GRID), scan, config, blood_hu))


def test_a_clip_between_the_lungs_is_told_with_volume_and_place(config: Config) -> None:
    (finding,) = _found(CLIP, config, lesion=LESION)
    assert (finding.code, finding.outcome) == ("METAL", Outcome.FLAG)
    voxels = np.argwhere(_inside(CLIP))
    assert finding.value == pytest.approx(len(voxels) * GRID.voxel_ml, abs=5e-4)
    numbers = sorted(50 - int(k) for k in set(voxels[:, 0]))
    heights = sorted(-100 + 4.0 * int(k) for k in set(voxels[:, 0]))
    assert f"images {numbers[0]} to {numbers[-1]}, z {heights[0]:.1f} to {heights[-1]:.1f} mm" in finding.message
    lesion_ml = np.count_nonzero(_inside(LESION)) * GRID.voxel_ml
    assert f"{lesion_ml:.0f} mL are labelled lesion" in finding.message


@pytest.mark.parametrize(
    ("where", "box"),
    [
        ("on the skin", ((-6, 6), (-104, -98), (0, 16))),
        ("a lead in the air", ((-6, 6), (-130, -126), (0, 16))),
        ("in the table", ((-6, 6), (119, 125), (0, 16))),
        ("on the arm", ((200, 210), (-5, 5), (0, 16))),
        ("far above the lungs", ((-4, 4), (-4, 4), (84, 96))),
    ],
)
def test_metal_elsewhere_says_nothing(where: str, box: Box, config: Config) -> None:
    assert _inside(box).any(), where
    assert _found(box, config) == []


def test_metal_under_the_skin_and_in_the_lung_is_told(config: Config) -> None:
    for box in (((60, 80), (-92, -86), (0, 16)), ((60, 66), (0, 6), (0, 16))):
        assert [finding.code for finding in _found(box, config)] == ["METAL"]


@pytest.mark.parametrize(
    ("blood_hu", "vein", "outcome"),
    [
        (250.0, ((-10, 10), (-10, 10), (-30, 30)), Outcome.NOTE),
        (40.0, ((-10, 10), (-10, 10), (-30, 30)), Outcome.FLAG),  # blood without contrast: no vein is so bright
        (None, ((-10, 10), (-10, 10), (-30, 30)), Outcome.FLAG),
        (250.0, None, Outcome.FLAG),
        (250.0, ((-6, 6), (-6, 6), (-3, 11)), Outcome.FLAG),  # 2 mL: the blur of a clip
    ],
)
def test_undiluted_contrast_in_a_vein_is_no_metal(
    blood_hu: float | None, vein: Box | None, outcome: Outcome, config: Config
) -> None:
    (finding,) = _found(CLIP, config, vein=vein, blood_hu=blood_hu)
    assert finding.outcome is outcome
    assert ("undiluted contrast" in finding.message) == (outcome is Outcome.NOTE)


def test_less_than_the_setting_is_no_metal(config: Config) -> None:
    assert _found(((-2, 2), (-1, 1), (0, 4)), config) == []
