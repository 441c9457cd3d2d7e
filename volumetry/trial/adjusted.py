"""Comparisons of two arms that account for the baseline, other covariates or strata."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from volumetry.trial.statistics import Values, for_ranks


@dataclass(frozen=True, slots=True)
class Effect:
    """An estimate with its error, interval and test; None where the method gives none.

    Parameters
    ----------
    estimate, se, low, high
        In the unit of the outcome.
    statistic, df
        Of the test: t of a model with its degrees of freedom, chi-square of a rank test, F of rank ANCOVA.
    p
        Two-sided.
    """

    p: float
    statistic: float
    df: float
    estimate: float | None = None
    se: float | None = None
    low: float | None = None
    high: float | None = None


def ancova(outcome: Values, in_a: Values, covariates: Values, level: float) -> Effect | None:
    """Difference between arms by least squares: outcome = arm + covariates.

    Parameters
    ----------
    outcome
        One value per subject.
    in_a
        1 for arm a, 0 for arm b.
    covariates
        One column each; may have none. A column that the others explain is left out.
    level
        Coverage, 0 to 1.

    Returns
    -------
    Effect or None
        With t and its degrees of freedom; None if the arm is explained by the covariates, or nothing is left to
        estimate the error.
    """
    whole = np.column_stack([in_a, np.ones_like(in_a), covariates])
    design = independent(whole)
    df = outcome.size - design.shape[1]
    if df < 1 or rank(whole[:, 1:]) == rank(whole):
        return None
    solution, *_rest = np.linalg.lstsq(design, outcome, rcond=None)
    residual = outcome - design @ solution
    variance = float(residual @ residual) / df * float(np.linalg.inv(design.T @ design)[0, 0])
    if variance <= 0:
        return None
    return of_t(float(solution[0]), variance**0.5, df, level)


def interaction(outcome: Values, in_a: Values, groups: Values, covariates: Values) -> Effect | None:
    """Test whether the difference between arms depends on a group, by F in a linear model.

    Parameters
    ----------
    outcome
        One value per subject.
    in_a
        1 for arm a, 0 for arm b.
    groups
        0 and 1 for every level but the first.
    covariates
        One column each.

    Returns
    -------
    Effect or None
        F with `df` degrees of freedom of the error, and no estimate; None if a level lacks an arm, or nothing is
        left to estimate the error.
    """
    without = independent(np.column_stack([np.ones_like(in_a), in_a, groups, covariates]))
    whole = independent(np.column_stack([without, groups * in_a[:, None]]))
    more, df = whole.shape[1] - without.shape[1], outcome.size - whole.shape[1]
    if more < max(1, groups.shape[1]) or df < 1:
        return None
    squares = [
        float(np.square(outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]).sum())
        for design in (without, whole)
    ]
    if squares[1] <= 0:
        return None
    statistic = (squares[0] - squares[1]) / more / (squares[1] / df)
    return Effect(float(stats.f.sf(statistic, more, df)), statistic, df)


def of_t(estimate: float, se: float, df: float, level: float) -> Effect:
    """Interval and test of an estimate whose error has a t distribution."""
    reach, t = float(stats.t.ppf((1 + level) / 2, df)) * se, estimate / se
    return Effect(2 * float(stats.t.sf(abs(t), df)), t, df, estimate, se, estimate - reach, estimate + reach)


def rank_ancova(outcome: Values, in_a: Values, covariates: Values) -> Effect | None:
    """Analysis of covariance of ranks: ranks of the outcome less what ranks of the covariates explain.

    Parameters
    ----------
    outcome
        One value per subject.
    in_a
        1 for arm a, 0 for arm b.
    covariates
        One column each; its ranks are used.

    Returns
    -------
    Effect or None
        F with 1 and `df` degrees of freedom, and no estimate; None without two arms and a spread.

    References
    ----------
    Quade: Rank analysis of covariance. J. Am. Stat. Assoc. 62 (1967), 1187-1200.
    """
    if outcome.size < 3 or np.ptp(in_a) == 0:
        return None
    ranks = stats.rankdata(for_ranks(outcome))
    columns = [stats.rankdata(for_ranks(column)) for column in covariates.T]
    design = np.column_stack([np.ones_like(in_a), *columns])
    residual = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    if np.ptp(residual) < 1e-9:
        return None
    found = stats.f_oneway(residual[in_a > 0], residual[in_a == 0])
    return Effect(float(found.pvalue), float(found.statistic), outcome.size - 2)


def van_elteren(outcome: Values, in_a: Values, strata: Sequence[str]) -> Effect | None:
    """Stratified Wilcoxon rank-sum test, each stratum weighted by 1 / (its size + 1).

    Parameters
    ----------
    outcome
        One value per subject.
    in_a
        1 for arm a, 0 for arm b.
    strata
        Of each subject. A stratum with one arm only says nothing.

    Returns
    -------
    Effect or None
        Chi-square with 1 degree of freedom, ties taken into account; None if no stratum has two arms and a spread.

    References
    ----------
    van Elteren: On the combination of independent two sample tests of Wilcoxon. Bull. Int. Stat. Inst. 37 (1960),
    351-361.
    """
    excess, variance = 0.0, 0.0
    names = np.array(strata)
    for stratum in sorted(set(strata)):
        here = names == stratum
        n, m = int(here.sum()), int(in_a[here].sum())
        if not 0 < m < n:
            continue
        ranks = stats.rankdata(for_ranks(outcome[here]))
        spread = float(((ranks - (n + 1) / 2) ** 2).sum())
        excess += (float(ranks @ in_a[here]) - m * (n + 1) / 2) / (n + 1)
        variance += m * (n - m) * spread / (n * (n - 1)) / (n + 1) ** 2
    if variance == 0:
        return None
    statistic = excess**2 / variance
    return Effect(float(stats.chi2.sf(statistic, 1)), statistic, 1)


def median_difference(a: Values, b: Values, level: float, draws: int, seed: int) -> Effect | None:
    """Difference of the medians with its bias-corrected and accelerated bootstrap interval; it has no test.

    Parameters
    ----------
    a, b
        Two samples.
    level
        Coverage, 0 to 1.
    draws
        Bootstrap samples.
    seed
        Of the draws.

    Returns
    -------
    Effect or None
        p and statistic are not a number; None if a sample is too small or the medians do not vary.

    References
    ----------
    Efron: Better bootstrap confidence intervals. J. Am. Stat. Assoc. 82 (1987), 171-185.
    """
    if min(a.size, b.size) < 3:
        return None
    estimate = float(np.median(a) - np.median(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        ends = _bca(a, b, estimate, level, draws, seed)
    if ends is None:
        return None
    return Effect(float("nan"), float("nan"), float("nan"), estimate, None, *ends)


def _bca(a: Values, b: Values, estimate: float, level: float, draws: int, seed: int) -> tuple[float, float] | None:
    drawn = _drawn_medians(a, draws, (seed, 0)) - _drawn_medians(b, draws, (seed, 1))
    share = float(((drawn < estimate).mean() + (drawn <= estimate).mean()) / 2)
    if not 0 < share < 1 or np.ptp(drawn) == 0:
        return None
    bias = float(stats.norm.ppf(share))
    influence = [_left_out(a) / a.size, -_left_out(b) / b.size]
    cubes, squares = (sum(float((i**power).sum()) for i in influence) for power in (3, 2))
    acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(drawn, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def _drawn_medians(values: Values, draws: int, seed: tuple[int, int]) -> Values:
    rng, step = np.random.default_rng(seed), max(1, 1_000_000 // values.size)
    found = np.empty(draws)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        found[start : start + size] = np.median(rng.choice(values, (size, values.size)), axis=1)
    return found


def _left_out(values: Values) -> Values:
    """(n - 1) times how far the median moves when each value is left out: the mean of the others less its own."""
    medians = np.array([np.median(np.delete(values, place)) for place in range(values.size)])
    influence: Values = (values.size - 1) * (medians.mean() - medians)
    return influence


def independent(design: Values) -> Values:
    """The first columns that are not explained by those before them."""
    kept: list[int] = []
    for column in range(design.shape[1]):
        if rank(design[:, [*kept, column]]) > len(kept):
            kept.append(column)
    return design[:, kept]


def rank(design: Values) -> int:
    """How many columns are independent, whatever their units."""
    scale = np.abs(design).max(axis=0, initial=0.0)
    return int(np.linalg.matrix_rank(design / np.where(scale > 0, scale, 1.0))) if design.size else 0
