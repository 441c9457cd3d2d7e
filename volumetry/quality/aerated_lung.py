"""Density of the lung without disease: whether it is lung at all, and whether the interval holds for such a scan.

An interval speaks of scans like those that calibrated it. What of a scan matters was measured on five chests, by
making them worse: noise of 40 HU in the trachea, slices of 4 mm and a smoother kernel (a blur of 1 mm) moved the
share of lesion by less than the interval. What does matter is how far the lungs are inflated: the lung of three
chests scanned in free breathing had medians of -748 to -735 HU, and its haze was called ground glass; that of
twelve others had -928 to -832 HU, and of one with dense disease -800 HU. The other is how much of the lung is
diseased.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Config
from volumetry.domain import CtScan, Finding, Tissue, TissueMap, Volumes
from volumetry.wording import EVERY_SLICE, MINUS, for_reader

AERATED_HU, LESION_PERCENT = "aerated_hu", "lesion_percent"
"""What a model's card states the range of: median HU of aerated lung, and lesion in percent of the lung."""

_FIRST_HU, _STEP_HU, _STEPS = -1100, 10, 129


def density_findings(tissue: TissueMap, scan: CtScan, volumes: Volumes, config: Config) -> Iterator[Finding]:
    """HU_IMPLAUSIBLE and OUT_OF_CALIBRATION.

    Parameters
    ----------
    tissue
        The network's classes, postprocessed. Its `doubt` holds the ranges; without it, nothing is said of them.
    scan
        HU on the same grid.
    volumes
        Of `tissue`.
    config
        ``[hounsfield]`` holds the plausible peak.
    """
    counts = _histogram(tissue, scan)
    if not counts.any():
        return
    yield from _implausible(counts, config)
    ranges = {} if tissue.doubt is None else tissue.doubt.calibrated
    median_hu = median_of(counts)
    if AERATED_HU in ranges:
        low, high = ranges[AERATED_HU]
        if not low <= median_hu <= high:
            yield _outside(
                f"half of the aerated lung is denser than {_hu(median_hu)} HU; the scans that calibrated the "
                f"interval have {_hu(low)} to {_hu(high)} HU there",
                "whether the lungs are fully inflated, and whether haze without disease, most often at the back, "
                "is labelled ground glass"
                if median_hu > high
                else "whether emphysema or a wrong calibration of the scanner hides ground glass",
                median_hu,
                config,
            )
    percent = 100 * volumes.lesion / volumes.lung if volumes.lung else 0.0
    if LESION_PERCENT in ranges and percent > ranges[LESION_PERCENT][1]:
        yield _outside(
            f"{percent:.1f} % of the lung is lesion; the scans that calibrated the interval have up to "
            f"{ranges[LESION_PERCENT][1]:.1f} %",
            "at the outline of the lesion and of the lung around it",
            percent,
            config,
        )


def median_of(counts: NDArray[np.int64]) -> float:
    """The median HU of a histogram of `aerated_hu_counts`, within a step of 10 HU by proportion.

    >>> counts = aerated_hu_counts(np.array([-855.0] * 3 + [-845.0] * 3))
    >>> median_of(counts)
    -850.0
    """
    below = np.concatenate([[0], np.cumsum(counts)])
    edges = _FIRST_HU + _STEP_HU * np.arange(len(below))
    return float(np.interp(below[-1] / 2, below, edges))


def aerated_hu_counts(hu: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many voxels of aerated lung lie in each step of 10 HU.

    Parameters
    ----------
    hu
        Of aerated lung alone, any shape.
    """
    counted = hu[(hu >= _FIRST_HU) & (hu < _FIRST_HU + _STEPS * _STEP_HU)]
    step = (np.floor(counted).astype(np.int32) - _FIRST_HU) // _STEP_HU  # numpy's histogram takes twice as long
    return np.bincount(step, minlength=_STEPS)


def _histogram(tissue: TissueMap, scan: CtScan) -> NDArray[np.int64]:
    planes = zip(tissue.labels_kji, scan.hu_kji, strict=True)
    counts = np.zeros(_STEPS, np.int64)
    for labels, hu in planes:
        counts += aerated_hu_counts(hu[labels == Tissue.AERATED])
    return counts


def _implausible(counts: NDArray[np.int64], config: Config) -> Iterator[Finding]:
    """The most frequent HU of what is called aerated lung must be lung: the last net under a wrong rescale."""
    low, high = config.hounsfield.lung_peak_min_hu, config.hounsfield.lung_peak_max_hu
    peak_hu = float(_FIRST_HU + _STEP_HU * int(counts.argmax()) + _STEP_HU / 2)
    if not low <= peak_hu <= high:
        text = f"aerated lung peaks at {peak_hu:.0f} HU, not at {low:.0f} to {high:.0f}: not Hounsfield units"
        yield Finding("HU_IMPLAUSIBLE", config.outcome_of("HU_IMPLAUSIBLE"), text, round(peak_hu, 3))


def _outside(what: str, look: str, value: float, config: Config) -> Finding:
    text = for_reader(what, look, EVERY_SLICE, "not quantified, and not part of the interval")
    return Finding("OUT_OF_CALIBRATION", config.outcome_of("OUT_OF_CALIBRATION"), text, round(value, 3))


def _hu(value: float) -> str:
    return f"{value:.0f}".replace("-", MINUS)
