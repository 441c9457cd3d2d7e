"""Noise and air are measured in the trachea, in no other gas, and not where there is none."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from volumetry.domain import CtScan, Grid, SeriesInfo, TissueMap
from volumetry.quality.trachea_noise import control_figures

GRID = Grid((60, 120, 160), (2.5, 1.5, 1.5))
SERIES = SeriesInfo("1.2.3", 60, GRID.spacing_kji_mm)
AIR_HU, NOISE_HU = -980.0, 17.0


def _disc(row: int, column: int, radius_mm: float) -> NDArray[np.bool_]:
    j, i = np.ogrid[:120, :160]
    return np.asarray(np.hypot(1.5 * (j - row), 1.5 * (i - column)) <= radius_mm)


def _chest(trachea_mm: float = 10.0, bronchus_mm: float = 0.0) -> tuple[CtScan, TissueMap]:
    """Two lungs, a trachea between them, and beside the left lung bowel of the same size and other noise."""
    random = np.random.default_rng(5)
    hu = np.full(GRID.shape_kji, -1000, np.float32)
    hu[:, 10:110, 8:152] = 40
    lung = np.zeros(GRID.shape_kji, np.uint8)
    lung[5:55, 25:95, 20:60] = lung[5:55, 25:95, 95:130] = 1
    hu[lung > 0] = -850
    for row, column, radius_mm, sd in (
        (60, 77, trachea_mm, NOISE_HU),
        (60, 87, bronchus_mm, 0),
        (60, 141, 10, 90),
    ):
        gas = np.broadcast_to(_disc(row, column, radius_mm), GRID.shape_kji) & (radius_mm > 0)
        hu[gas] = AIR_HU + random.normal(0, sd, int(gas.sum()))
    return CtScan(hu, GRID, SERIES), TissueMap(lung, GRID)


def test_air_and_noise_are_those_of_the_trachea() -> None:
    figures = control_figures(*_chest())
    assert figures["tracheal_air_hu"] == pytest.approx(AIR_HU, abs=1)
    assert figures["noise_hu"] == pytest.approx(NOISE_HU, rel=0.05)


@pytest.mark.parametrize(
    ("trachea_mm", "bronchus_mm"),
    [(0.0, 0.0), (2.0, 0.0), (19.0, 0.0), (6.0, 6.0)],
    ids=["none", "too narrow", "too wide", "two bronchi"],
)
def test_where_no_trachea_is_told_nothing_is_measured(trachea_mm: float, bronchus_mm: float) -> None:
    assert not control_figures(*_chest(trachea_mm, bronchus_mm))


def test_air_around_the_body_is_passed_on_and_no_lung_gives_no_more() -> None:
    scan, tissue = _chest()
    none = replace(tissue, labels_kji=np.zeros_like(tissue.labels_kji))
    assert control_figures(replace(scan, air_hu=-999.46), none) == {"outside_air_hu": -999.5}
