"""HU of the whole lung as bars, with the registered bins behind them: plain numbers that the template draws."""

from dataclasses import dataclass

import numpy as np

from volumetry.domain import CtScan, TissueMap

LOW_HU, HIGH_HU, STEP_HU = -1050, 250, 20
WIDTH, HEIGHT = 640, 190


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in drawing units, y downward."""

    x: float
    y: float
    width: float
    height: float
    bin_number: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars, the x of each bin's cut with its HU, ticks of the axis, and mL of the highest bar."""

    bars: tuple[Bar, ...]
    cuts: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, int], ...]
    top_ml: float
    width: int = WIDTH
    height: int = HEIGHT


def lung_histogram(scan: CtScan, tissue: TissueMap, cuts_hu: tuple[float, float, float]) -> Histogram:
    """Volume of lung per 20 HU; what lies outside the axis is in its last bar on that side."""
    edges = np.arange(LOW_HU, HIGH_HU + STEP_HU, STEP_HU)
    counts = np.zeros(edges.size - 1, np.int64)
    for labels, hu in zip(tissue.labels_kji, scan.hu_kji, strict=True):
        counts += np.histogram(np.clip(hu[labels > 0], LOW_HU, HIGH_HU), counts.size, (LOW_HU, HIGH_HU))[0]
    ml = counts * tissue.grid.voxel_ml
    top = float(ml.max())
    scale = HEIGHT / top if top > 0 else 0.0
    bars = tuple(
        Bar(
            round(_x(low) + 0.5, 2),
            round(HEIGHT - value * scale, 2),
            round(_x(high) - _x(low) - 1, 2),
            round(value * scale, 2),
            int(np.searchsorted(cuts_hu, (low + high) / 2)),
        )
        for low, high, value in zip(edges[:-1].tolist(), edges[1:].tolist(), ml.tolist(), strict=True)
        if value > 0
    )
    ticks = tuple((round(_x(hu), 2), hu) for hu in range(-1000, HIGH_HU, 250))
    return Histogram(bars, tuple((round(_x(cut), 2), cut) for cut in cuts_hu), ticks, top)


def _x(hu: float) -> float:
    return WIDTH * (hu - LOW_HU) / (HIGH_HU - LOW_HU)
