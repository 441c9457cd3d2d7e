"""How far the shares move when the segmentation is made a little differently: what an interval is made of.

Everything is counted before tidying: moved thresholds on every slice, what needs the network again on a sample of
them. Differences between two ways of making the same slices are wanted here, not the shares themselves, and for
those a systematic sample does.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from volumetry.domain import SHARES
from volumetry.segment.halves import reaching, to_single
from volumetry.segment.thresholds import Cuts

Counts = NDArray[np.int64]
"""Voxels of lung, lesion, ground glass and solid."""
BASE = "base"
UNDECIDED_FROM = 0.05
"""Probability of lesion from which on lung is not clearly without disease. From there to the cut of the lesion lie
0.2 to 1.1 % of the lung in eight chests with next to no disease, and 7 to 13 % in four whose haze is in doubt, the
rims of lesions included."""


def class_counts(
    probabilities: NDArray[np.floating], cuts: Cuts, lesion_shift: float = 0.0, solid_shift: float = 0.0
) -> Counts:
    """Voxels of each class, from probabilities (3, ...) of lung, lesion and solid, at shifted cuts."""
    lung, lesion, solid = probabilities
    diseased = lesion >= cuts.lesion + lesion_shift
    dense = diseased & (solid >= cuts.solid + solid_shift)
    whole = diseased | (lung >= cuts.lung)
    lesions, solids = int(np.count_nonzero(diseased)), int(np.count_nonzero(dense))
    return np.array([np.count_nonzero(whole), lesions, lesions - solids, solids], np.int64)


def threshold_counts(probabilities: NDArray[np.floating], cuts: Cuts, step: float) -> dict[str, Counts]:
    """Counts at the thresholds in use, and with the lesion's and the solid's shifted by `step` either way."""
    low = cuts.lesion - step
    some = reaching(probabilities[0], cuts.lung) | reaching(probabilities[1], low)
    probabilities = to_single(probabilities[:, some])  # no class is anywhere else
    return {
        BASE: class_counts(probabilities, cuts),
        "lesion low": class_counts(probabilities, cuts, lesion_shift=-step),
        "lesion high": class_counts(probabilities, cuts, lesion_shift=step),
        "solid low": class_counts(probabilities, cuts, solid_shift=-step),
        "solid high": class_counts(probabilities, cuts, solid_shift=step),
    }


def undecided_voxels(probabilities: NDArray[np.floating], cuts: Cuts) -> Counts:
    """How much of the lung is called aerated though it is not clearly without disease, and how much lung there is.

    Parameters
    ----------
    probabilities
        Of lung, lesion and solid, (3, ...).
    cuts
        In force.

    Returns
    -------
    Counts
        Voxels from `UNDECIDED_FROM` up to the lesion's cut, and of lung with its lesions.
    """
    lung, lesion, _ = probabilities
    diseased = reaching(lesion, cuts.lesion)
    aerated = reaching(lung, cuts.lung) & ~diseased
    undecided = int(np.count_nonzero(aerated & reaching(lesion, UNDECIDED_FROM)))
    return np.array([undecided, np.count_nonzero(aerated) + np.count_nonzero(diseased)], np.int64)


def added(counts: Mapping[str, Counts], more: Mapping[str, Counts]) -> dict[str, Counts]:
    """Counts of two samples of slices, name by name."""
    return {
        name: counts.get(name, np.zeros(4, np.int64)) + more.get(name, np.zeros(4, np.int64))
        for name in {**counts, **more}
    }


def spread_points(counts: Mapping[str, Counts]) -> dict[str, dict[str, float]]:
    """Points of lung by part and share; empty where the sample shows no lung.

    Parameters
    ----------
    counts
        Of `threshold_counts`, and where they were made ``mirrored``, ``hu low`` and ``hu high``. The base must be
        counted on the same slices as these; moved thresholds are compared with each other alone.

    Returns
    -------
    ``threshold``
        Half the range over the lesion's threshold, and over the solid's, as independent.
    ``augmentation``
        Mirrored against not.
    ``hu_offset``
        Half the range over the offset.
    """
    if not counts or not counts[BASE][0]:
        return {}
    percent = {name: 100.0 * voxels[1:] / max(int(voxels[0]), 1) for name, voxels in counts.items()}
    lesion = (percent["lesion low"] - percent["lesion high"]) / 2
    solid = (percent["solid low"] - percent["solid high"]) / 2
    parts = {"threshold": np.hypot(lesion, solid)}
    if "mirrored" in percent:
        parts["augmentation"] = np.abs(percent["mirrored"] - percent[BASE])
    if "hu low" in percent:
        parts["hu_offset"] = np.abs(percent["hu high"] - percent["hu low"]) / 2
    return {part: dict(zip(SHARES, points.tolist(), strict=True)) for part, points in parts.items()}
