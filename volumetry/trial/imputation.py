"""Multiple imputation of absent changes: at random, and by the reference arm (jump to reference, copy increments).

The baseline value and the changes at all visits are jointly normal, with a mean for each arm and one unstructured
covariance. Its parameters are drawn by data augmentation under a flat prior of the means and Jeffreys' prior of
the covariance. An absent change before the last one seen is drawn at random from its conditional distribution in
the subject's own arm. Behind the last one seen, the mean of an arm other than the reference is

* ``mar``: its own;
* ``j2r``: that of the reference (jump to reference);
* ``cir``: its own at the last visit seen, plus the reference's increments since (copy increments in reference).

Every completed table is compared by ANCOVA on the baseline; the results are combined by Rubin's rules with the
degrees of freedom of Barnard and Rubin. A change after a death is not imputed.

References: Carpenter, Roger and Kenward, J. Biopharm. Stat. 23 (2013), 1352-1371; Schafer, Analysis of Incomplete
Multivariate Data (1997), 5.4; Barnard and Rubin, Biometrika 86 (1999), 948-955.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from volumetry.trial.adjusted import Effect, ancova, of_t
from volumetry.trial.statistics import Values

_BURN_IN, _BETWEEN = 200, 20
"""Steps of the chain before the first imputation and between two of them."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Changes of two arms, subjects x (baseline and visits); nan where there is none.

    Parameters
    ----------
    values
        The first column is the baseline value, known for everyone.
    in_a
        Whether the subject is in arm a; arm b is the reference.
    dead
        Where a value is absent because of a death.
    """

    values: Values
    in_a: NDArray[np.bool_]
    dead: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Gap:
    """Subjects who lack the same columns: the columns with and without values, and where both are in the table."""

    seen: NDArray[np.intp]
    gone: NDArray[np.intp]
    at_seen: tuple[NDArray[np.intp], ...]
    at_gone: tuple[NDArray[np.intp], ...]


def imputed(table: Incomplete, methods: Sequence[str], count: int, seed: int) -> Iterator[dict[str, Values]]:
    """Completed tables by method, `count` times; all methods use the same draws of the parameters.

    Parameters
    ----------
    table
        From two arms.
    methods
        Of ``mar``, ``j2r``, ``cir``.
    count
        Number of imputations.
    seed
        Of the draws.

    Yields
    ------
    dict[str, Values]
        The values without gaps, by method.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the covariance of the visits is singular.
    """
    rng = np.random.default_rng(seed)
    filled, gaps = _started(table), _gaps(table.values)
    for step in range(_BURN_IN + count * _BETWEEN):
        means, covariance = _drawn_parameters(filled, table.in_a, rng)
        own = means[table.in_a.astype(int)]
        filled = _drawn_values(table.values, gaps, own, covariance, rng.standard_normal(table.values.shape))
        if step >= _BURN_IN and (step - _BURN_IN) % _BETWEEN == 0:
            noise = rng.standard_normal(table.values.shape)
            yield {
                m: _drawn_values(table.values, gaps, _means(m, table, means), covariance, noise) for m in methods
            }


def combined(effects: Sequence[Effect], complete_df: float, level: float) -> Effect:
    """Rubin's rules.

    Parameters
    ----------
    effects
        Of the completed tables; each has an estimate and a standard error.
    complete_df
        Degrees of freedom if nothing were absent.
    level
        Coverage, 0 to 1.

    Returns
    -------
    Effect
        With the degrees of freedom of Barnard and Rubin.

    Raises
    ------
    ValueError
        If an estimate has no standard error.
    """
    estimates = np.array([effect.estimate for effect in effects], float)
    errors = [effect.se for effect in effects if effect.se is not None]
    if len(errors) < len(effects):
        raise ValueError("an estimate has no standard error")
    within = float(np.mean(np.square(errors)))
    between = float(estimates.var(ddof=1)) * (1 + 1 / len(effects))
    total = within + between
    missing = between / total
    observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - missing)
    df = observed if missing < 1e-12 else 1 / (1 / ((len(effects) - 1) / missing**2) + 1 / observed)
    if missing < 1e-12:
        df = complete_df
    return of_t(float(estimates.mean()), total**0.5, df, level)


def analysed(
    table: Incomplete, completed: Sequence[Values], visit: int, level: float, delta: float = 0.0
) -> Effect | None:
    """ANCOVA of one visit in every completed table, combined.

    Parameters
    ----------
    table
        Before imputation.
    completed
        From `imputed`, of one method.
    visit
        Column of the visit, from 1.
    level
        Coverage, 0 to 1.
    delta
        Added to every imputed value of arm a: the tipping point is where the conclusion changes.

    Returns
    -------
    Effect or None
        None if a completed table cannot be compared.
    """
    alive = ~table.dead[:, visit]
    absent = np.isnan(table.values[:, visit])
    effects = []
    for values in completed:
        outcome = values[:, visit] + delta * (absent & table.in_a)
        effect = ancova(outcome[alive], table.in_a[alive].astype(float), values[alive, :1], level)
        if effect is None:
            return None
        effects.append(effect)
    return combined(effects, effects[0].df, level)


def _started(table: Incomplete) -> Values:
    """Gaps filled with the mean of the arm."""
    filled = table.values.copy()
    for arm in (True, False):
        rows = table.in_a == arm
        filled[rows] = np.where(np.isnan(filled[rows]), np.nanmean(filled[rows], axis=0), filled[rows])
    return filled


def _drawn_parameters(filled: Values, in_a: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Values, Values]:
    """Means of arm b and arm a, and the covariance, from their posterior."""
    means = np.array([filled[in_a == arm].mean(axis=0) for arm in (False, True)])
    residual = filled - means[in_a.astype(int)]
    free = len(filled) - 2
    covariance = stats.invwishart.rvs(df=free, scale=residual.T @ residual, random_state=rng)
    half = np.linalg.cholesky(np.atleast_2d(covariance))
    sizes = np.sqrt([(~in_a).sum(), in_a.sum()])
    drawn = means + (half @ rng.standard_normal((filled.shape[1], 2))).T / sizes[:, None]
    return drawn, np.atleast_2d(covariance)


def _gaps(values: Values) -> list[_Gap]:
    """Subjects with the same gaps, once for all draws."""
    absent = np.isnan(values)
    found = []
    for pattern in np.unique(absent[absent.any(axis=1)], axis=0):
        rows = np.flatnonzero((absent == pattern).all(axis=1))
        seen, gone = np.flatnonzero(~pattern), np.flatnonzero(pattern)
        found.append(_Gap(seen, gone, np.ix_(rows, seen), np.ix_(rows, gone)))
    return found


def _drawn_values(
    values: Values, gaps: Sequence[_Gap], means: Values, covariance: Values, noise: Values
) -> Values:
    """Gaps drawn from their distribution given what was seen, with the means of each subject."""
    filled = values.copy()
    for gap in gaps:
        seen, gone = gap.seen, gap.gone
        between = covariance[seen[:, None], gone]
        slope = np.linalg.solve(covariance[seen[:, None], seen], between)
        left = covariance[gone[:, None], gone] - covariance[gone[:, None], seen] @ slope
        half = np.linalg.cholesky((left + left.T) / 2)
        expected = means[gap.at_gone] + (values[gap.at_seen] - means[gap.at_seen]) @ slope
        filled[gap.at_gone] = expected + noise[gap.at_gone] @ half.T
    return filled


def _means(method: str, table: Incomplete, means: Values) -> Values:
    """The mean of each subject at each visit, under a method."""
    own: Values = means[table.in_a.astype(int)]
    if method == "mar":
        return own
    found = own.copy()
    reference = means[0]
    for row in np.flatnonzero(table.in_a & np.isnan(table.values).any(axis=1)):
        last = int(np.flatnonzero(~np.isnan(table.values[row])).max())
        found[row, last + 1 :] = reference[last + 1 :]
        if method == "cir":
            found[row, last + 1 :] += own[row, last] - reference[last]
    return found
