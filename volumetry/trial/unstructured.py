"""The mixed model for repeated measures with an unstructured covariance of the visits, by restricted likelihood.

y_i = X_i b + e_i, e_i ~ N(0, S_i), where S_i are the rows and columns of one covariance matrix S for the visits
that subject i has. The restricted deviance

    sum log|S_i| + log|X'V^-1 X| + sum r_i' S_i^-1 r_i

is minimised over the logarithmic Cholesky factor of S with its exact gradient. Degrees of freedom are those of
Satterthwaite, from the observed information of S.

References: Laird and Ware, Biometrics 38 (1982), 963-974; Jennrich and Schluchter, Biometrics 42 (1986), 805-820;
Fai and Cornelius, J. Stat. Comput. Simul. 54 (1996), 363-378.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from volumetry.trial.adjusted import Effect, of_t
from volumetry.trial.statistics import Values

_STEP = 1e-4
"""Relative step of the differences of the gradient."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Subjects who were seen at the same visits."""

    visits: NDArray[np.intp]
    outcome: Values  # subjects x visits
    design: Values  # subjects x visits x effects


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model.

    Parameters
    ----------
    effects
        Estimates of the fixed effects.
    covariance
        Of the visits.
    effects_covariance
        Of the estimates.
    deviance
        -2 log (restricted) likelihood, with its constant.
    patterns, restricted
        What was fitted.
    """

    effects: Values
    covariance: Values
    effects_covariance: Values
    deviance: float
    patterns: tuple[_Pattern, ...]
    restricted: bool


def fit(
    outcome: Values, design: Values, subjects: Sequence[Hashable], visits: Sequence[int], restricted: bool = True
) -> Fit | None:
    """Fit the model.

    Parameters
    ----------
    outcome
        One value per row.
    design
        Fixed effects, rows x effects, of full rank.
    subjects
        Of each row.
    visits
        Place of each row's visit, 0 to the number of visits less 1; a subject has each once.
    restricted
        Restricted likelihood; otherwise likelihood.

    Returns
    -------
    Fit or None
        None if the fit did not converge or the covariance is singular.
    """
    patterns = _patterns(outcome, design, subjects, visits)
    count = max(visits) + 1
    lower = np.tril_indices(count)
    residual = outcome - design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
    spread = [float(np.std(residual[np.array(visits) == v])) for v in range(count)]
    if min(spread) <= 0:
        return None
    scale = np.diag(spread)
    diagonal = lower[0] == lower[1]

    def factor(theta: Values) -> Values:
        found = np.zeros((count, count))
        found[lower] = np.where(diagonal, np.exp(theta), theta)
        return scale @ found

    def objective(theta: Values) -> tuple[float, Values]:
        half = factor(theta)
        value, gradient = _deviance(patterns, half @ half.T, restricted)[:2]
        slope = (scale @ (2 * gradient @ half))[lower]
        return value, slope * np.where(diagonal, np.exp(theta), 1.0)

    start = np.zeros(lower[0].size)
    try:
        done = optimize.minimize(
            objective, start, jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 2000}
        )
        half = factor(done.x)
        covariance: Values = half @ half.T
        value, _gradient, effects, precision = _deviance(patterns, covariance, restricted)
        effects_covariance = np.asarray(np.linalg.inv(precision), float)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(value) or np.abs(objective(done.x)[1]).max() > 1e-3 or np.linalg.cond(covariance) > 1e10:
        return None
    free = outcome.size - (design.shape[1] if restricted else 0)
    return Fit(effects, covariance, effects_covariance, value + free * np.log(2 * np.pi), patterns, restricted)


def contrast(fitted: Fit, weights: Values, level: float, covariance: Values | None = None) -> Effect | None:
    """A combination of the fixed effects, with the degrees of freedom of Satterthwaite.

    Parameters
    ----------
    fitted
        From `fit`.
    weights
        Of each fixed effect.
    level
        Coverage, 0 to 1.
    covariance
        Of the fixed effects, for the standard error: that of Kenward and Roger; without it, that of the fit.

    Returns
    -------
    Effect or None
        None if the information of the covariance cannot be inverted.
    """
    count = len(fitted.covariance)
    places = [(i, j) for i in range(count) for j in range(i + 1)]
    variance = float(weights @ fitted.effects_covariance @ weights)
    slope_matrix = np.zeros((count, count))
    leaning = fitted.effects_covariance @ weights
    for pattern in fitted.patterns:
        inverse = np.linalg.inv(fitted.covariance[np.ix_(pattern.visits, pattern.visits)])
        pulled = pattern.design @ leaning @ inverse
        slope_matrix[np.ix_(pattern.visits, pattern.visits)] += pulled.T @ pulled
    slope = np.array([slope_matrix[i, j] * (1 if i == j else 2) for i, j in places])
    spread = spread_of_entries(fitted, places)
    if spread is None:
        return None
    below = float(slope @ spread @ slope)
    if below <= 0:
        return None
    of_estimate = variance if covariance is None else float(weights @ covariance @ weights)
    return of_t(float(weights @ fitted.effects), of_estimate**0.5, 2 * variance**2 / below, level)


def spread_of_entries(fitted: Fit, places: Sequence[tuple[int, int]]) -> Values | None:
    """Covariance of the estimated entries of the covariance of the visits; None if it cannot be had."""
    try:
        return np.asarray(2 * np.linalg.inv(_information(fitted, places)), float)
    except np.linalg.LinAlgError:
        return None


def _information(fitted: Fit, places: Sequence[tuple[int, int]]) -> Values:
    """Second derivatives of the deviance by the entries of the covariance: differences of its gradient."""
    spread = np.sqrt(np.diag(fitted.covariance))
    columns = []
    for i, j in places:
        moved = np.zeros_like(fitted.covariance)
        moved[i, j] = moved[j, i] = _STEP * spread[i] * spread[j]
        ends = [
            _deviance(fitted.patterns, fitted.covariance + way * moved, fitted.restricted)[1] for way in (1, -1)
        ]
        change = (ends[0] - ends[1]) / (2 * moved[i, j])
        columns.append([change[k, m] * (1 if k == m else 2) for k, m in places])
    found = np.array(columns)
    return (found + found.T) / 2


def _deviance(
    patterns: Sequence[_Pattern], covariance: Values, restricted: bool
) -> tuple[float, Values, Values, Values]:
    """Deviance without its constant, its derivative by the covariance, the fixed effects and their precision."""
    inverses, value = [], 0.0
    for pattern in patterns:
        half = linalg.cho_factor(covariance[np.ix_(pattern.visits, pattern.visits)], lower=True)
        inverses.append(linalg.cho_solve(half, np.eye(pattern.visits.size)))
        value += 2 * len(pattern.outcome) * float(np.log(np.diag(half[0])).sum())
    weighted = [inverse @ pattern.design for pattern, inverse in zip(patterns, inverses, strict=True)]
    precision = sum(np.einsum("nta,ntb->ab", p.design, w) for p, w in zip(patterns, weighted, strict=True))
    right = sum(np.einsum("nta,nt->a", w, p.outcome) for p, w in zip(patterns, weighted, strict=True))
    effects_covariance = np.linalg.inv(precision)
    effects = effects_covariance @ right
    if restricted:
        value += float(np.linalg.slogdet(precision)[1])
    gradient = np.zeros_like(covariance)
    for pattern, inverse in zip(patterns, inverses, strict=True):
        residual = pattern.outcome - pattern.design @ effects
        value += float(np.einsum("nt,ts,ns->", residual, inverse, residual))
        squares = residual.T @ residual
        if restricted:
            squares = squares + np.einsum("nta,ab,nsb->ts", pattern.design, effects_covariance, pattern.design)
        at = np.ix_(pattern.visits, pattern.visits)
        gradient[at] += len(pattern.outcome) * inverse - inverse @ squares @ inverse
    return value, gradient, effects, precision


def _patterns(
    outcome: Values, design: Values, subjects: Sequence[Hashable], visits: Sequence[int]
) -> tuple[_Pattern, ...]:
    rows: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for row, (subject, visit) in enumerate(zip(subjects, visits, strict=True)):
        rows[subject].append((visit, row))
    groups: dict[tuple[int, ...], list[list[int]]] = defaultdict(list)
    for of in rows.values():
        groups[tuple(visit for visit, _row in sorted(of))].append([row for _visit, row in sorted(of)])
    return tuple(_Pattern(np.array(at), outcome[np.array(of)], design[np.array(of)]) for at, of in groups.items())
