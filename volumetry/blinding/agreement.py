"""How well two readers agree: intraclass correlation, limits of agreement, and kappa for yes or no.

ICC(A,1): two-way random effects, absolute agreement, single reader (McGraw and Wong 1996, case 2A; ICC(2,1) of
Shrout and Fleiss 1979). Limits of agreement: Bland and Altman 1986. Kappa: Cohen 1960, with his standard error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_Z95 = 1.959963984540054
_LIMIT = 1.96  # standard deviations to the limits of agreement, as Bland and Altman (1986) have them


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Parameters
    ----------
    value
        The figure.
    low, high
        95 % interval; None where it has none.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Differences of the second reader from the first.

    Parameters
    ----------
    bias
        Mean difference.
    sd
        Standard deviation of the differences.
    lower, upper
        Limits of agreement, bias - 1.96 sd and bias + 1.96 sd.
    """

    bias: Estimate
    sd: float
    lower: Estimate
    upper: Estimate


def icc_absolute(ratings: Sequence[Sequence[float]]) -> Estimate | None:
    """Intraclass correlation of single ratings for absolute agreement.

    Parameters
    ----------
    ratings
        One row for each scan, with one value for each reader.

    Returns
    -------
    Estimate or None
        None with fewer than three scans, or where all values are the same.
    """
    x = np.asarray(ratings, float)
    if x.ndim != 2 or x.shape[0] < 3 or np.ptp(x) == 0:
        return None
    n, k = x.shape
    mean = x.mean()
    rows = k * float(((x.mean(axis=1) - mean) ** 2).sum()) / (n - 1)
    columns = n * float(((x.mean(axis=0) - mean) ** 2).sum()) / (k - 1)
    rest = float(((x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    icc = (rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n)
    if rest == 0 or icc >= 1:
        return Estimate(icc)
    a, b = k * icc / (n * (1 - icc)), 1 + k * icc * (n - 1) / (n * (1 - icc))
    freedom = (a * columns + b * rest) ** 2 / (
        (a * columns) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1))
    )
    f_low, f_high = stats.f.ppf(0.975, n - 1, freedom), stats.f.ppf(0.975, freedom, n - 1)
    common = k * columns + (k * n - k - n) * rest
    low = n * (rows - f_low * rest) / (f_low * common + n * rows)
    high = n * (f_high * rows - rest) / (common + n * f_high * rows)
    return Estimate(icc, float(low), float(high))


def limits_of_agreement(first: Sequence[float], second: Sequence[float]) -> Limits | None:
    """Bias and limits of agreement, each with its 95 % interval.

    Parameters
    ----------
    first, second
        Values of either reader, in the order of the scans.

    Returns
    -------
    Limits or None
        None with fewer than three scans.
    """
    differences = np.asarray(second, float) - np.asarray(first, float)
    n = len(differences)
    if n < 3:
        return None
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))
    of_bias, of_limit = t * sd / math.sqrt(n), t * sd * math.sqrt(3 / n)
    lower, upper = bias - _LIMIT * sd, bias + _LIMIT * sd
    return Limits(
        Estimate(bias, bias - of_bias, bias + of_bias),
        sd,
        Estimate(lower, lower - of_limit, lower + of_limit),
        Estimate(upper, upper - of_limit, upper + of_limit),
    )


def kappa(first: Sequence[bool], second: Sequence[bool]) -> Estimate | None:
    """Agreement beyond chance on yes or no.

    Parameters
    ----------
    first, second
        Answers of either reader, in the order of the scans.

    Returns
    -------
    Estimate or None
        None without scans, or where chance alone would agree always (both say the same of every scan).
    """
    n = len(first)
    if not n:
        return None
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    p, q = sum(first) / n, sum(second) / n
    chance = p * q + (1 - p) * (1 - q)
    if chance == 1:
        return None
    value = (agreed - chance) / (1 - chance)
    reach = _Z95 * math.sqrt(agreed * (1 - agreed) / n) / (1 - chance)
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach))
