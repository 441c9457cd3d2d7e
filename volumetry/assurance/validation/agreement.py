"""Agreement and repeatability of paired measurements; n pairs (a, b), d = a - b, m = (a + b) / 2."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_LEAST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through (truth, found).

    Parameters
    ----------
    slope, slope_low, slope_high, intercept
        Least squares; the slope with its 95 % interval.
    r_squared
        Share of the variance explained.
    furthest_percent
        Largest distance of a point from the line, in percent of its truth.
    """

    n: int
    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    r_squared: float
    furthest_percent: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland-Altman: mean difference, limits, and the 95 % interval of each.

    Sources: Bland and Altman, Lancet 1986; 327: 307-310. Bland and Altman, Stat Methods Med Res 1999; 8: 135-160.
    """

    n: int
    bias: float
    bias_low: float
    bias_high: float
    lower: float
    lower_low: float
    lower_high: float
    upper: float
    upper_low: float
    upper_high: float


@dataclass(frozen=True, slots=True)
class Repeatability:
    """Within-subject variation of test and retest.

    Parameters
    ----------
    within_sd, coefficient
        wSD = sqrt(sum(d^2) / 2n) and RC = 1.96 sqrt(2) wSD: pairs of one subject differ by less in 95 %.
    within_cv_percent, coefficient_percent
        The same relative to the pair's mean.

    Source: QIBA, Stat Methods Med Res 2015; 24: 27-67.
    """

    n: int
    within_sd: float
    coefficient: float
    within_cv_percent: float
    coefficient_percent: float


def straight_line(truth: Sequence[float], found: Sequence[float]) -> Line | None:
    """Least squares of found on truth; None below three points.

    >>> line = straight_line([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    >>> round(line.slope, 6), round(line.intercept, 6), line.n
    (2.0, 1.0, 3)
    """
    if len(truth) < _LEAST_PAIRS:
        return None
    x, y = np.asarray(truth, float), np.asarray(found, float)
    fit = stats.linregress(x, y)
    reach = float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
    off = np.abs(y - (fit.slope * x + fit.intercept)) / x
    return Line(
        len(x),
        float(fit.slope),
        float(fit.slope - reach),
        float(fit.slope + reach),
        float(fit.intercept),
        float(fit.rvalue**2),
        float(100 * off.max()),
    )


def bland_altman(a: Sequence[float], b: Sequence[float]) -> Agreement | None:
    """Mean difference a - b and its limits of agreement; None below three pairs.

    >>> bland_altman([1.0, 2.0, 4.0], [1.0, 1.0, 2.0]).bias
    1.0
    """
    if len(a) < _LEAST_PAIRS:
        return None
    d = np.asarray(a, float) - np.asarray(b, float)
    n, bias, sd = len(d), float(d.mean()), float(d.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))
    of_bias = t * sd / math.sqrt(n)
    of_limit = t * sd * math.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    lower, upper = bias - 1.96 * sd, bias + 1.96 * sd
    return Agreement(
        n,
        bias,
        bias - of_bias,
        bias + of_bias,
        lower,
        lower - of_limit,
        lower + of_limit,
        upper,
        upper - of_limit,
        upper + of_limit,
    )


def repeatability(a: Sequence[float], b: Sequence[float]) -> Repeatability | None:
    """Within-subject variation of pairs of one subject each; None below three pairs or with a mean of 0.

    >>> round(repeatability([10.0, 20.0, 30.0], [12.0, 18.0, 30.0]).within_sd, 4)
    1.1547
    """
    if len(a) < _LEAST_PAIRS:
        return None
    x, y = np.asarray(a, float), np.asarray(b, float)
    d, m = x - y, (x + y) / 2
    if (m <= 0).any():
        return None
    within = math.sqrt(float((d**2).sum()) / (2 * len(d)))
    cv = math.sqrt(float((d**2 / (2 * m**2)).mean()))
    factor = 1.96 * math.sqrt(2)
    return Repeatability(len(d), within, factor * within, 100 * cv, 100 * factor * cv)
