"""Volumes and shares by lobe, how far they move with the fissures, and the CT severity score."""

import math
from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import (
    CODES,
    LOBES,
    Interval,
    Lobe,
    LobeMap,
    LobeMeasurement,
    NoLobes,
    Tissue,
    TissueMap,
    Volumes,
    lobe_table,
)

NEAR_CUT_POINTS = 1.0
"""Percentage points by which a share may lie on the other side of a cut of the score."""
LEAST_LESION_ML = 1.0
"""Lesion of a lobe, a sphere of 12 mm, below which the score takes it for none. Our convention: a program counts
single voxels that no reader sees."""
_SHIFTS = (-1, 0, 1)


def measure_lobes(
    delivered: TissueMap, lobes: LobeMap | NoLobes, interval: Interval | None = None
) -> LobeMeasurement:
    """Numbers of every lobe.

    Parameters
    ----------
    delivered
        The map that is counted.
    lobes
        The lungs of the same map divided, or why they were not.
    interval
        Of the lesion of both lungs, for the range of the score; None where there is none.

    Returns
    -------
    LobeMeasurement
        Without volumes and score where the lungs were not divided.

    Raises
    ------
    ValueError
        If the two lie on different grids.
    """
    if isinstance(lobes, NoLobes):
        return LobeMeasurement("none", lobes.reason)
    if lobes.grid != delivered.grid:
        raise ValueError("lobes and tissue lie on different grids")
    counts = _counts(delivered, lobes)
    voxel_ml = delivered.grid.voxel_ml
    here = _volumes(counts, lobe_table(), voxel_ml)
    if not all(volumes.lung for volumes in here.values()):
        empty = next(name for name, volumes in here.items() if not volumes.lung)
        return LobeMeasurement("none", f"the {empty.replace('_', ' ')} lobe has no lung")
    moved = [_volumes(counts, lobe_table(*shifts), voxel_ml) for shifts in product(_SHIFTS, _SHIFTS)]
    spans = {lobe.key: _span([volumes[lobe.key] for volumes in moved]) for lobe in LOBES}
    return LobeMeasurement(
        lobes.method,
        "; ".join(lobes.reasons) or None,
        here,
        spans,
        sum(lobe_score(lobe.percent_of_lung()["lesion"], lobe.lesion) for lobe in here.values()),
        _score_range(here, spans, interval),
    )


def _score_range(
    here: Mapping[str, Volumes], spans: Mapping[str, tuple[float, float]], interval: Interval | None
) -> tuple[int, int]:
    """The score with every lobe at the low and at the high end.

    The interval of all lesion is shared out as the lesion is: an end of it changes the share of every lobe by the
    same factor. To that come the lobe's own span, and `NEAR_CUT_POINTS`.
    """
    lesion, lung = sum(lobe.lesion for lobe in here.values()), sum(lobe.lung for lobe in here.values())
    percent = 100 * lesion / lung
    ends = (percent, percent) if interval is None else interval.percent["lesion"]
    low = high = 0
    for name, span in spans.items():
        # Without lesion there is nothing to share out, and every lobe may have what both lungs may have.
        down, up = (share * end / percent if percent else end for share, end in zip(span, ends, strict=True))
        low += lobe_score(max(0.0, down - NEAR_CUT_POINTS), here[name].lesion)
        high += lobe_score(up + NEAR_CUT_POINTS)
    return low, high


def lobe_score(percent: float, lesion_ml: float = math.inf) -> int:
    """Score of one lobe, 0 to 5, by the share of it that is lesion.

    Parameters
    ----------
    percent
        Lesion as a share of the lobe, in %.
    lesion_ml
        The same in mL: less than `LEAST_LESION_ML` is none.

    Returns
    -------
    int
        0 none; 1 below 5 %; 2 from 5 to 25 %; 3 between 25 and 50 %; 4 from 50 to 75 %; 5 above 75 %. Both are
        rounded to one decimal first, as the report prints them, so that a reader finds the same score.

    Notes
    -----
    Pan et al. (Radiology 2020, 295:715) state <5, 25, 26-49, 50-75 and >75 % for readers who estimate whole
    percentages. Between 25 and 26 % and between 49 and 50 % the score is 3 here. Francone et al. (Eur Radiol 2020,
    30:6808) state 5-25, 26-50 and 51-75 %: exactly 50 % has the score 3 there.

    Examples
    --------
    >>> [lobe_score(x) for x in (0, 0.1, 4.94, 4.96, 25, 25.5, 49.9, 50, 75, 75.1)]
    [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    >>> lobe_score(0.1, lesion_ml=0.9)
    0
    """
    if percent <= 0 or round(lesion_ml, 1) < LEAST_LESION_ML:
        return 0
    shown = round(percent, 1)
    return 1 + (shown >= 5) + (shown > 25) + (shown >= 50) + (shown > 75)


def _counts(delivered: TissueMap, lobes: LobeMap) -> NDArray[np.int64]:
    """Voxels by place code and tissue."""
    counts = np.zeros((CODES, len(Tissue)), np.int64)
    for codes, labels in zip(lobes.codes_kji, delivered.labels_kji, strict=True):
        lung = labels > 0
        key = codes[lung].astype(np.uint16) * len(Tissue) + labels[lung]
        counts += np.bincount(key, minlength=counts.size).reshape(counts.shape)
    return counts


def _volumes(counts: NDArray[np.int64], table: NDArray[np.uint8], voxel_ml: float) -> Mapping[str, Volumes]:
    by_lobe = np.zeros((len(Lobe), len(Tissue)), np.int64)
    np.add.at(by_lobe, table, counts)
    ml = (by_lobe * voxel_ml).tolist()
    order = (Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID, Tissue.UNCLASSED)
    return {lobe.key: Volumes(*(ml[lobe][tissue] for tissue in order)) for lobe in LOBES}


def _span(moved: list[Volumes]) -> tuple[float, float]:
    """Smallest and largest share of a lobe; the fissures where they are give one at least."""
    shares = [100 * volumes.lesion / volumes.lung for volumes in moved if volumes.lung]
    return min(shares), max(shares)
