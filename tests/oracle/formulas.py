"""Small formulas of the trial's reference: a predicted lung volume, and the spread behind a published interval."""

import math
from statistics import NormalDist


def predicted_lung_ml(male: bool, height_cm: float, weight_kg: float) -> float:
    """CT lung volume predicted for a Chinese adult: -10150 + 605.3 male + 92.61 cm - 12.99 kg, +/- 1766 mL.

    Source: doi 10.2147/COPD.S187596.

    >>> round(predicted_lung_ml(True, 170.0, 70.0), 1)
    5289.7
    """
    return -10150 + 605.3 * male + 92.61 * height_cm - 12.99 * weight_kg


def implied_spread(ci_low: float, ci_high: float, n_a: int, n_b: int, level: float = 0.95) -> tuple[float, float]:
    """Standard error and SD of one value that a published interval of a difference implies (normal, equal SD).

    For planning a trial from a paper that gives no SD.

    >>> [round(x, 2) for x in implied_spread(-29.14, 2.13, 65, 35)]
    [7.98, 38.05]
    """
    error = (ci_high - ci_low) / (2 * NormalDist().inv_cdf((1 + level) / 2))
    return error, error / math.sqrt(1 / n_a + 1 / n_b)
