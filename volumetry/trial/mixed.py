"""A repeated-measures model beside the table: all follow-ups at once, with each subject's own level.

change = visit + visit x arm + baseline + subject (random intercept), by restricted maximum likelihood. A random
intercept means equal correlation between any two visits; ``mmrm`` of models.csv leaves it unstructured. Needs
statsmodels, the extra ``mixed``.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from volumetry.errors import ConfigError
from volumetry.storage.csv_tables import Cell
from volumetry.trial.change import Change
from volumetry.trial.compare import Contrast, arm_of, follow_ups
from volumetry.trial.config import TrialConfig
from volumetry.trial.results import MEASURES
from volumetry.trial.statistics import Values

COLUMNS = (
    *("measure", "scale", "visit", "arm_a", "arm_b", "n_subjects", "difference", "se", "ci_low", "ci_high", "p"),
    "reason",
)


@dataclass(frozen=True, slots=True)
class ModelDifference:
    """Arm difference at one visit by the model; figures are None where the model could not be fitted."""

    measure: str
    scale: str
    visit: str
    arm_a: str
    arm_b: str
    n_subjects: int
    difference: float | None = None
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    reason: str = ""

    def row(self) -> dict[str, Cell]:
        """The cells of mixed.csv."""
        return {name: getattr(self, name) for name in COLUMNS}


def repeated_measures(
    changes: Sequence[Change], contrasts: Sequence[Contrast], config: TrialConfig
) -> list[ModelDifference]:
    """The repeated-measures model for every measure and scale.

    Parameters
    ----------
    changes
        From `changes_of`.
    contrasts
        From `contrasts_of`.
    config
        ``[endpoint]`` and ``[statistics]``.

    Returns
    -------
    list[ModelDifference]
        By contrast, measure, scale and visit.

    Raises
    ------
    ConfigError
        If statsmodels is not installed.
    """
    rows: list[ModelDifference] = []
    for arm_a, arm_b in contrasts:
        if arm_b is None:
            continue
        for measure in MEASURES:
            for scale in config.endpoint.scales:
                of = [
                    c
                    for c in changes
                    if c.measure == measure and scale in c.changes and arm_of(c) in (arm_a, arm_b)
                ]
                rows += _fitted(of, scale, (arm_a, arm_b), follow_ups(changes), config.statistics.ci_level)
    return rows


def _fitted(
    changes: list[Change], scale: str, arms: tuple[str, str], visits: list[str], level: float
) -> list[ModelDifference]:
    measure = changes[0].measure if changes else ""
    seen = [v for v in visits if {arm_of(c) for c in changes if c.visit == v} == set(arms)]
    used = [c for c in changes if c.visit in seen]
    subjects = {c.subject for c in used}
    blank = [ModelDifference(measure, scale, visit, *arms, len(subjects)) for visit in seen]
    if len(used) <= 2 * len(seen) + 2 or len(used) == len(subjects):
        return [replace(row, reason="TOO_FEW_REPEATS") for row in blank]
    at = np.array([[c.visit == visit for visit in seen] for c in used], float)
    in_a = np.array([arm_of(c) == arms[0] for c in used], float)
    baseline = np.array([c.levels["baseline_percent"] for c in used])
    design = np.column_stack([at, at * in_a[:, None]])
    if np.ptp(baseline) > 0:  # one baseline for all explains nothing
        design = np.column_stack([design, baseline - baseline.mean()])
    outcome = np.array([c.changes[scale] for c in used])
    fit = _reml(outcome, design, [c.subject for c in used], level)
    if fit is None:
        return [replace(row, reason="NOT_CONVERGED") for row in blank]
    estimate, se, low, high, p = fit
    shift = len(seen)
    return [
        replace(
            row,
            difference=float(estimate[shift + n]),
            se=float(se[shift + n]),
            ci_low=float(low[shift + n]),
            ci_high=float(high[shift + n]),
            p=float(p[shift + n]),
        )
        for n, row in enumerate(blank)
    ]


def _reml(outcome: Values, design: Values, groups: list[str], level: float) -> tuple[Values, ...] | None:
    """Estimate, error, lower and upper limit, p of every fixed effect; None if the fit did not converge."""
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError as wrong:
        raise ConfigError(
            "statistics.repeated_measures needs statsmodels, which is not installed",
            hint="Install the extra: pip install 'volumetry[mixed]'",
        ) from wrong
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its warnings are answered by the checks below
        try:
            fitted: Any = MixedLM(outcome, design, groups=groups).fit(reml=True)
        except np.linalg.LinAlgError:
            return None
    fixed = design.shape[1]
    limits = np.asarray(fitted.conf_int(1 - level))[:fixed]
    columns = (fitted.params, fitted.bse, limits[:, 0], limits[:, 1], fitted.pvalues)
    figures = tuple(np.asarray(column, float)[:fixed] for column in columns)
    return figures if fitted.converged and all(np.isfinite(figure).all() for figure in figures) else None
