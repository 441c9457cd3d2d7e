"""Two proportions: intervals of their difference, and the exact conditional odds ratio."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import optimize, stats

from volumetry.trial.statistics import Interval

_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Ratio:
    """An odds ratio and its interval; None where an end, or the ratio, is without bound."""

    value: float | None
    low: float
    high: float | None


def wilson(yes: int, n: int, level: float) -> tuple[float, float]:
    """Score interval of one proportion (Wilson 1927).

    >>> [round(end, 4) for end in wilson(81, 263, 0.95)]
    [0.2553, 0.3662]
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    middle, reach = yes + z**2 / 2, z * math.sqrt(yes * (n - yes) / n + z**2 / 4)
    return max(0.0, (middle - reach) / (n + z**2)), min(1.0, (middle + reach) / (n + z**2))


def newcombe(yes_a: int, n_a: int, yes_b: int, n_b: int, level: float) -> Interval:
    """Interval of the difference a - b from the two score intervals, without continuity correction.

    Parameters
    ----------
    yes_a, yes_b
        Events.
    n_a, n_b
        Sizes of the samples, above 0.
    level
        Coverage, 0 to 1.

    Returns
    -------
    Interval
        Of the difference, as fractions.

    References
    ----------
    Newcombe: Interval estimation for the difference between independent proportions. Stat. Med. 17 (1998),
    873-890, method 10.
    """
    a, b = yes_a / n_a, yes_b / n_b
    (low_a, high_a), (low_b, high_b) = wilson(yes_a, n_a, level), wilson(yes_b, n_b, level)
    low = a - b - math.hypot(a - low_a, high_b - b)
    return Interval(low, a - b + math.hypot(high_a - a, b - low_b), "Newcombe", level)


def miettinen_nurminen(yes_a: int, n_a: int, yes_b: int, n_b: int, level: float) -> Interval:
    """Interval of the difference a - b by inverting the score test, its variance times N / (N - 1).

    Parameters
    ----------
    yes_a, yes_b
        Events.
    n_a, n_b
        Sizes of the samples, above 0.
    level
        Coverage, 0 to 1.

    Returns
    -------
    Interval
        Of the difference, as fractions.

    References
    ----------
    Miettinen and Nurminen: Comparative analysis of two rates. Stat. Med. 4 (1985), 213-226.
    """
    limit, estimate = float(stats.norm.ppf((1 + level) / 2)), yes_a / n_a - yes_b / n_b

    def distance(difference: float) -> float:
        p_b = _restricted(yes_a, n_a, yes_b, n_b, difference)
        p_a = p_b + difference
        total = n_a + n_b
        variance = (p_a * (1 - p_a) / n_a + p_b * (1 - p_b) / n_b) * total / (total - 1)
        away = abs(estimate - difference)
        return (away / math.sqrt(variance) if variance > 0 else math.inf if away > 1e-9 else 0.0) - limit

    return Interval(_end(distance, estimate, -1.0), _end(distance, estimate, 1.0), "Miettinen-Nurminen", level)


def exact_odds_ratio(yes_a: int, n_a: int, yes_b: int, n_b: int, level: float) -> Ratio | None:
    """Conditional maximum-likelihood odds ratio with its exact interval, as fisher.test of R gives it.

    Parameters
    ----------
    yes_a, yes_b
        Events.
    n_a, n_b
        Sizes of the samples.
    level
        Least coverage, 0 to 1.

    Returns
    -------
    Ratio or None
        None if all or none had the event: the table then says nothing about the ratio. Where a cell is 0, one end
        is 0 or without bound.

    References
    ----------
    Cornfield: A statistical problem arising from retrospective studies. Proc. 3rd Berkeley Symp. 4
    (1956), 135-148.
    """
    if yes_a + yes_b in (0, n_a + n_b) or not n_a or not n_b:
        return None
    found = stats.contingency.odds_ratio([[yes_a, n_a - yes_a], [yes_b, n_b - yes_b]], kind="conditional")
    ends = found.confidence_interval(level)
    value, low, high = (float(x) for x in (found.statistic, ends.low, ends.high))
    return Ratio(value if math.isfinite(value) else None, low, high if math.isfinite(high) else None)


def _end(distance: Callable[[float], float], estimate: float, bound: float) -> float:
    """Where the score test just rejects, between the estimate and -1 or 1."""
    if distance(bound * (1 - _TOLERANCE)) <= 0 or abs(estimate - bound) < _TOLERANCE:
        return bound
    return float(optimize.brentq(distance, estimate, bound * (1 - _TOLERANCE), xtol=1e-12))


def _restricted(yes_a: int, n_a: int, yes_b: int, n_b: int, difference: float) -> float:
    """Most likely proportion of b where that of a is larger by `difference`: Miettinen and Nurminen's cubic."""
    total = n_a + n_b
    l3, l2 = total, (n_a + 2 * n_b) * difference - total - yes_a - yes_b
    l1 = (n_b * difference - total - 2 * yes_b) * difference + yes_a + yes_b
    l0 = yes_b * difference * (1 - difference)
    q = (l2 / (3 * l3)) ** 3 - l1 * l2 / (6 * l3**2) + l0 / (2 * l3)
    p = math.copysign(math.sqrt(max(0.0, (l2 / (3 * l3)) ** 2 - l1 / (3 * l3))), q)
    ratio = 0.0 if p == 0 else max(-1.0, min(1.0, q / p**3))
    angle = (math.pi + math.acos(ratio)) / 3
    share = 2 * p * math.cos(angle) - l2 / (3 * l3)
    return max(0.0, -difference, min(1.0, 1 - difference, share))
