"""The statistics of the tables: each a short formula over numpy or scipy, with its source."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from scipy import stats

from volumetry.trial.pairwise import Values as Values
from volumetry.trial.pairwise import ordered_differences


@dataclass(frozen=True, slots=True)
class Summary:
    """One sample: None where it is too small for the figure."""

    n: int
    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, how it was made, and for an exact one the level it really has."""

    low: float
    high: float
    method: str
    level: float


@dataclass(frozen=True, slots=True)
class RankTest:
    """A p-value, how it was made, and its statistic."""

    p: float
    method: str
    statistic: float


def summarise(values: Values, quartiles: str = "linear") -> Summary:
    """n, median, quartiles, mean, SD (n - 1), smallest and largest.

    Parameters
    ----------
    values
        One sample.
    quartiles
        Method of `numpy.quantile`.

    Returns
    -------
    Summary
        Only n where there is no value.

    Examples
    --------
    >>> summarise(np.array([1.0, 2.0, 3.0, 4.0])).q1
    1.75
    """
    if values.size == 0:
        return Summary(0)
    q1, median, q3 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75], method=quartiles))  # type: ignore[call-overload]  # the name comes from a checked setting
    sd = float(values.std(ddof=1)) if values.size > 1 else None
    return Summary(
        int(values.size), median, q1, q3, float(values.mean()), sd, float(values.min()), float(values.max())
    )


def shift_interval(a: Values, b: Values, level: float, exact: bool) -> Interval | None:
    """Confidence interval of the Hodges-Lehmann shift, from the ordered pairwise differences D(1..mn).

    It is [D(k), D(mn + 1 - k)] with the largest k for which P(U <= k - 1) <= (1 - level) / 2: by the distribution
    of the Mann-Whitney U (`exact`), or by its normal approximation with continuity and tie correction. Both hold
    the shifts that the test of the same kind in `rank_sum` does not reject. A tie between the arms is one at a
    single shift only, so the ties that count for all shifts are those within an arm. The ends are limits: a shift
    at which values of the arms are equal, such as 0, can be an end and yet be rejected itself.

    Parameters
    ----------
    a, b
        Two samples.
    level
        Wanted coverage, 0 to 1.
    exact
        Use the exact distribution of U, for samples without ties.

    Returns
    -------
    Interval or None
        None if the samples are too small for an interval of this level. The level of an exact one is what it
        covers; that of an asymptotic one is nominal.

    References
    ----------
    Hollander and Wolfe: Nonparametric Statistical Methods, 4.3.
    """
    m, n = a.size, b.size
    tail = (1 - level) / 2 * (1 + 1e-12)  # 1 - 0.9 is a little less than 0.1
    if exact:
        lower = [p for p in _u_distribution(m, n) if p <= tail]
        k = len(lower)
        reached = 1 - 2 * lower[-1] if lower else 0.0
    else:
        tied = sum(int(t**3 - t) for x in (a, b) for t in np.unique(for_ranks(x), return_counts=True)[1])
        sd = math.sqrt(m * n / 12 * (m + n + 1 - tied / ((m + n) * (m + n - 1))))
        k = math.floor(m * n / 2 + 0.5 + float(stats.norm.ppf(tail)) * sd)
        reached = level
    if k < 1:
        return None
    low, high = (float(end) for end in ordered_differences(a, b, (k - 1, m * n - k)))
    return Interval(low, high, "exact" if exact else "asymptotic", reached)


def rank_sum(a: Values, b: Values, exact_below_n: int) -> RankTest | None:
    """Two-sided Wilcoxon rank-sum (Mann-Whitney) test of `a` against `b`.

    Exact if both samples are smaller than `exact_below_n` and no value occurs twice; otherwise normal, with
    continuity and tie correction (scipy). None if all values are equal: they have no ranks to compare.

    Parameters
    ----------
    a, b
        Two samples, not empty.
    exact_below_n
        Size of a sample from which the normal approximation is used.

    Returns
    -------
    RankTest or None
        p, method and U.
    """
    a, b = for_ranks(a), for_ranks(b)
    if np.ptp(np.concatenate([a, b])) == 0:
        return None
    method = "exact" if can_be_exact(a, b, exact_below_n) else "asymptotic"
    done = stats.mannwhitneyu(a, b, alternative="two-sided", method=method, use_continuity=True)
    return RankTest(float(done.pvalue), method, float(done.statistic))


def can_be_exact(a: Values, b: Values, exact_below_n: int) -> bool:
    """Whether both samples are small enough and free of ties."""
    both = for_ranks(np.concatenate([a, b]))
    return max(a.size, b.size) < exact_below_n and np.unique(both).size == both.size


def fisher(yes_a: int, n_a: int, yes_b: int, n_b: int) -> float:
    """Two-sided Fisher exact p of two proportions: all tables no more likely than this one.

    Parameters
    ----------
    yes_a, yes_b
        Events.
    n_a, n_b
        Sizes of the samples.

    Returns
    -------
    float
        p, 0 to 1.

    Examples
    --------
    >>> round(fisher(10, 56, 0, 30), 5)
    0.01284
    """
    return float(stats.fisher_exact([[yes_a, n_a - yes_a], [yes_b, n_b - yes_b]]).pvalue)


def woolf(yes_a: int, n_a: int, yes_b: int, n_b: int, level: float) -> tuple[float, Interval] | None:
    """Odds ratio and Woolf's interval exp(ln OR +/- z SE), SE = sqrt(1/a + 1/b + 1/c + 1/d).

    Parameters
    ----------
    yes_a, yes_b
        Events.
    n_a, n_b
        Sizes of the samples.
    level
        Coverage, 0 to 1.

    Returns
    -------
    tuple[float, Interval] or None
        None if a cell is 0: neither the ratio nor its interval is then a number.

    References
    ----------
    Woolf: On estimating the relation between blood group and disease. Ann. Hum. Genet. 19 (1955), 251-253.
    """
    cells = (yes_a, n_a - yes_a, yes_b, n_b - yes_b)
    if min(cells) == 0:
        return None
    log_ratio = math.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    reach = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(sum(1 / cell for cell in cells))
    interval = Interval(math.exp(log_ratio - reach), math.exp(log_ratio + reach), "Woolf", level)
    return math.exp(log_ratio), interval


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: running maximum of (m - rank) p, at most 1.

    Parameters
    ----------
    p_values
        Of one family of tests.

    Returns
    -------
    list[float]
        In the same order.

    References
    ----------
    Holm: A simple sequentially rejective multiple test procedure. Scand. J. Statist. 6 (1979), 65-70.

    Examples
    --------
    >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps = accumulate((min(1.0, (len(order) - rank) * p_values[place]) for rank, place in enumerate(order)), max)
    adjusted = dict(zip(order, steps, strict=True))
    return [adjusted[place] for place in range(len(p_values))]


def median_interval(values: Values, level: float) -> Interval | None:
    """Distribution-free interval of a median from the binomial: [x(k), x(n + 1 - k)], with what it covers.

    Parameters
    ----------
    values
        One sample.
    level
        Least coverage, 0 to 1.

    Returns
    -------
    Interval or None
        In the unit of the values, with its true coverage; None if n is too small.
    """
    n = values.size
    k = int(stats.binom.ppf((1 - level) / 2, n, 0.5)) if n else 0
    if k < 1:
        return None
    ordered = np.sort(values)
    reached = 1 - 2 * float(stats.binom.cdf(k - 1, n, 0.5))
    return Interval(float(ordered[k - 1]), float(ordered[n - k]), "exact", reached)


def for_ranks(values: Values) -> Values:
    """Values without the last binary digits: 8.5/10 and 17/20 are one change, and must tie."""
    return np.round(values, 9)


@cache
def _u_distribution(m: int, n: int) -> tuple[float, ...]:
    """P(U <= u) for u = 0 .. mn, without ties: coefficients of prod (1 - q^(n+i)) / (1 - q^i), i = 1 .. m."""
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for u in range(m * n, n + i - 1, -1):  # times 1 - q^(n+i)
            counts[u] -= counts[u - n - i]
        for u in range(i, m * n + 1):  # divided by 1 - q^i
            counts[u] += counts[u - i]
    total = math.comb(m + n, m)
    return tuple(count / total for count in accumulate(counts))
