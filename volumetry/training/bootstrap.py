"""How far a figure would move with other cases: percentile intervals of the bootstrap.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. With few cases such an interval
is too narrow, and of one case it says nothing about other patients: what was resampled is named beside it.
"""

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
DRAWS = 2000
SEED = 20261122


def resampled_counts(units: int, seed: int = SEED) -> NDArray[np.float64]:
    """How often each unit is in each of the draws: shape (draws, units), each row adding up to `units`.

    The same seed gives the same draws, so that intervals can be repeated.
    """
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=DRAWS)
    return drawn.astype(np.float64)


def percentile_interval(values: NDArray[np.float64]) -> list[float] | None:
    """The middle 95 % of a statistic over the draws; None where there is none or only one to draw from.

    Parameters
    ----------
    values
        One value per draw; NaN where a draw holds nothing to compute it from.
    """
    known = values[np.isfinite(values)]
    if known.size == 0:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def area_interval(
    positive: NDArray[np.int64], negative: NDArray[np.int64], seed: int = SEED
) -> list[float] | None:
    """Interval of the area under the curve (Mann-Whitney); positives and negatives are drawn separately."""
    if min(len(positive), len(negative)) < 2:
        return None
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    drawn_positive = resampled_counts(len(positive), seed)
    drawn_negative = resampled_counts(len(negative), seed + 1)
    areas = ((drawn_positive @ wins) * drawn_negative).sum(axis=1) / (len(positive) * len(negative))
    return percentile_interval(areas)
