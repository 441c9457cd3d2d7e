"""Contrast is seen in the blood: heart and great vessels between the lungs."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import CtScan, Grid, SeriesInfo, TissueMap
from volumetry.quality import blood_pool_hu
from volumetry.quality.blood_pool import contrast_findings

GRID = Grid((100, 100, 130), (2.5, 2.5, 2.5))
SERIES = SeriesInfo("1.2.3", 100, (2.5, 2.5, 2.5))


def _chest(heart_hu: float, noise_hu: float = 15.0) -> tuple[CtScan, NDArray[np.uint8]]:
    """Two lungs, a heart with fat around it, a spine denser than any blood."""
    hu = np.full(GRID.shape_kji, -1000, np.float32)
    hu[:, 5:95, 5:125] = 50
    lung = np.zeros(GRID.shape_kji, np.uint8)
    lung[10:90, 15:85, 12:45] = lung[10:90, 15:85, 85:118] = 1
    hu[lung > 0] = -850
    hu[10:90, 15:85, 45:85] = -100
    hu[20:80, 25:55, 50:80] = heart_hu
    hu[:, 60:85, 55:75] = 250
    hu += np.random.default_rng(3).normal(0, noise_hu, hu.shape).astype(np.float32)
    return CtScan(hu, GRID, SERIES), lung


@pytest.mark.parametrize("heart_hu", [35.0, 110.0, 300.0])
def test_the_pool_is_the_heart_and_neither_spine_nor_fat(heart_hu: float) -> None:
    scan, lung = _chest(heart_hu)
    assert blood_pool_hu(TissueMap(lung, GRID), scan) == pytest.approx(heart_hu, abs=3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_order_of_the_array_does_not_matter(axis: int) -> None:
    scan, lung = _chest(200.0)
    directions = list(GRID.direction_lps)
    directions[axis] = tuple(-x for x in directions[axis])
    grid = replace(GRID, direction_lps=tuple(directions))
    turned = replace(scan, hu_kji=np.flip(scan.hu_kji, axis).copy(), grid=grid)
    assert blood_pool_hu(TissueMap(np.flip(lung, axis).copy(), grid), turned) == pytest.approx(200, abs=3)


def test_what_cannot_be_told_has_no_number() -> None:
    scan, lung = _chest(-100.0)
    assert blood_pool_hu(TissueMap(lung, GRID), scan) is None
    scan, lung = _chest(40.0, noise_hu=150.0)
    assert blood_pool_hu(TissueMap(lung, GRID), scan) is None
    blank = replace(scan, hu_kji=np.full(GRID.shape_kji, np.nan, np.float32))
    assert blood_pool_hu(TissueMap(lung, GRID), blank) is None
    assert blood_pool_hu(TissueMap(np.zeros_like(lung), GRID), scan) is None


@pytest.mark.parametrize(
    ("tag", "blood_hu", "wanted", "codes"),
    [
        (None, 40.0, "without", set()),
        (None, None, "without", set()),
        (False, None, "without", set()),
        (None, 72.0, "without", set()),
        (None, 200.0, "without", {"CONTRAST_NOT_STATED", "CHARTER_CONTRAST"}),
        (False, 200.0, "any", {"CONTRAST_NOT_STATED"}),
        (None, 200.0, "with", {"CONTRAST_NOT_STATED"}),
        (None, None, "with", {"CHARTER_CONTRAST"}),
        (False, 40.0, "with", {"CHARTER_CONTRAST"}),
        (True, 200.0, "without", set()),  # the header says so itself: told by charter_findings
        (True, 40.0, "any", set()),
    ],
)
def test_blood_decides_what_the_tag_leaves_open(tag, blood_hu, wanted, codes) -> None:
    config = load_config(overrides={"charter": {"contrast": wanted}})
    found = contrast_findings(replace(SERIES, contrast=tag), blood_hu, config)
    assert {finding.code for finding in found} == codes


def test_the_charter_may_refuse_what_the_blood_shows() -> None:
    config = load_config(overrides={"charter": {"contrast": "without", "refuse": ["contrast"]}})
    outcomes = {finding.code: finding.outcome for finding in contrast_findings(SERIES, 150.0, config)}
    assert outcomes == {"CONTRAST_NOT_STATED": Outcome.NOTE, "CHARTER_CONTRAST": Outcome.REFUSE}
