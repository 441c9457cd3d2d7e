"""models.csv: the analyses beside the table, for every change and every further numeric outcome."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from volumetry.storage.csv_tables import Cell, number_in
from volumetry.trial import adjusted
from volumetry.trial.adjusted import Effect
from volumetry.trial.change import Change
from volumetry.trial.compare import POOLED, Contrast, arm_of, by_arm
from volumetry.trial.config import TrialConfig, TrialConfigError
from volumetry.trial.kenward_roger import adjusted_covariance
from volumetry.trial.outcomes import at_visit, values_at
from volumetry.trial.results import MEASURES
from volumetry.trial.statistics import Values, for_ranks
from volumetry.trial.unstructured import contrast as combination
from volumetry.trial.unstructured import fit
from volumetry.trial.visit_windows import Placement
from volumetry.trial.visits import Visits

COLUMNS = (
    *("method", "measure", "scale", "visit", "arm_a", "arm_b", "n_a", "n_b", "estimate", "se", "df", "ci_low"),
    *("ci_high", "ci_level", "statistic", "p", "adjusted_for", "reason"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One subject's outcome at one visit."""

    subject: str
    arm: str
    visit: str
    baseline: float
    value: float
    day: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One line of models.csv: `arm_a` minus `arm_b` by one method; `effect` is None where `reason` says why."""

    method: str
    measure: str
    scale: str
    visit: str
    arm_a: str
    arm_b: str | None
    n_a: int
    n_b: int
    level: float
    adjusted_for: tuple[str, ...] = ()
    effect: Effect | None = None
    reason: str = ""

    def row(self) -> dict[str, Cell]:
        """The cells of models.csv."""
        names = ("method", "measure", "scale", "visit", "arm_a", "arm_b", "n_a", "n_b", "reason")
        cells: dict[str, Cell] = {name: getattr(self, name) for name in names}
        cells |= {"ci_level": self.level, "adjusted_for": ";".join(self.adjusted_for)}
        if self.effect is not None:
            of = self.effect
            figures = {"estimate": of.estimate, "se": of.se, "ci_low": of.low, "ci_high": of.high}
            figures |= {"df": of.df, "statistic": of.statistic, "p": of.p}
            cells |= {name: x for name, x in figures.items() if x is not None and np.isfinite(x)}
        return cells


def observations(
    changes: Sequence[Change], placements: Sequence[Placement], visits: Visits, config: TrialConfig
) -> dict[tuple[str, str], list[Seen]]:
    """Changes that are known, with the baseline value, by measure and scale.

    Parameters
    ----------
    changes
        From `changes_of`.
    placements
        From `place`.
    visits
        From `read_visits`.
    config
        ``[endpoint]`` scales.

    Returns
    -------
    dict[tuple[str, str], list[Seen]]
        Of the CT measures, and scale ``change`` of every further numeric outcome.
    """
    found: dict[tuple[str, str], list[Seen]] = {
        (measure, scale): [
            Seen(c.subject, arm_of(c), c.visit, c.levels["baseline_percent"], c.changes[scale], c.day)
            for c in changes
            if c.measure == measure and scale in c.changes
        ]
        for measure in MEASURES
        for scale in config.endpoint.scales
    }
    for extra in (e for e in visits.extras if e.kind == "numeric"):
        known = values_at(placements, extra.column)
        base = at_visit(known, visits.baseline)
        days = {(p.subject, p.visit): _day_of(p, extra.column, visits) for p in placements}
        found[extra.column, "change"] = [
            Seen(s, visits.arms.get(s, POOLED), visit, base[s], value - base[s], days[s, visit])
            for (s, visit), value in known.items()
            if visit != visits.baseline and s in base
        ]
    return found


def _day_of(placement: Placement, column: str, visits: Visits) -> float | None:
    """Day of the row that serves a visit with this column."""
    rows = [row for row in visits.rows[placement.subject] if row.row in placement.rows]
    value = placement.values.get(column)
    return next((row.day for row in rows if column in row.values and row.values[column] == value), None)


def beside_the_table(
    seen: Mapping[tuple[str, str], Sequence[Seen]],
    contrasts: Sequence[Contrast],
    visits: Visits,
    config: TrialConfig,
) -> list[Model]:
    """Every analysis that the settings name.

    Parameters
    ----------
    seen
        From `observations`.
    contrasts
        From `contrasts_of`.
    visits
        From `read_visits`: covariates and strata of the subjects.
    config
        ``[models]``.

    Returns
    -------
    list[Model]
        By measure, scale, method, visit and contrast.

    Raises
    ------
    ConfigError
        If the table lacks a covariate or a stratum that the settings name.
    """
    settings = config.models
    if settings.analyses:
        _check_columns(visits, config)
    rows: list[Model] = []
    order = list(dict.fromkeys(one.visit for of in seen.values() for one in of))
    for (measure, scale), of in seen.items():
        for method in settings.analyses:
            for arms in contrasts:
                arm_a, arm_b = arms
                if method == "mmrm" and arm_b is not None:
                    done = _mmrm([o for o in of if o.arm in arms], (arm_a, arm_b), visits, config)
                elif method == "kruskal_wallis":
                    done = _kruskal_wallis(of, order, config) if arms == contrasts[0] and arm_b else []
                else:
                    done = [_one(method, [o for o in of if o.visit == v], arms, visits, config) for v in order]
                rows += [replace(row, measure=measure, scale=scale) for row in done if row.n_a or row.n_b]
    return rows


def _check_columns(visits: Visits, config: TrialConfig) -> None:
    settings = config.models
    for column in (*settings.covariates, *settings.factors, *settings.strata):
        if column not in visits.covariates:
            raise TrialConfigError(
                f"models: no covariate of the visits table is {column!r}: {', '.join(visits.covariates) or '-'}",
                hint="Name the column under [columns] covariates too.",
            )
    for column in settings.covariates:
        if any(number_in(text) is None for text in visits.covariates[column].values()):
            raise TrialConfigError(f"models.covariates: {column!r} does not hold numbers; name it under factors")


def _one(method: str, seen: list[Seen], arms: Contrast, visits: Visits, config: TrialConfig) -> Model:
    arm_a, arm_b = arms
    of = [one for one in seen if one.arm in arms]
    used, adjusted_for = _complete(method, of, visits, config)
    n_a, n_b = (sum(one.arm == arm for one in used) for arm in arms)
    visit = seen[0].visit if seen else ""
    level = config.statistics.ci_level
    blank = Model(method, "", "", visit, arm_a, arm_b, n_a, n_b, level, adjusted_for)
    if arm_b is None:
        return replace(blank, reason="ONE_ARM")
    if min(n_a, n_b) == 0:
        return replace(blank, reason="NO_VALUES")
    outcome, in_a = np.array([one.value for one in used]), np.array([float(one.arm == arm_a) for one in used])
    statistics = config.statistics
    done: dict[str, Callable[[], Effect | None]] = {
        "ancova": lambda: adjusted.ancova(outcome, in_a, _covariates(used, visits, config), level),
        "rank_ancova": lambda: adjusted.rank_ancova(outcome, in_a, _covariates(used, visits, config, False)),
        "van_elteren": lambda: adjusted.van_elteren(outcome, in_a, _strata(used, visits, config)),
        "median_difference": lambda: adjusted.median_difference(
            outcome[in_a > 0], outcome[in_a == 0], level, config.models.bootstrap_draws, statistics.seed
        ),
    }
    effect = done[method]()
    return replace(blank, effect=effect, reason="" if effect else "NOT_ESTIMABLE")


def _mmrm(of: list[Seen], arms: tuple[str, str], visits: Visits, config: TrialConfig) -> list[Model]:
    """Change by visit, visit x arm, baseline x visit and covariates; unstructured covariance of the visits."""
    used, adjusted_for = _complete("mmrm", of, visits, config)
    names = [v for v in dict.fromkeys(o.visit for o in used) if {o.arm for o in used if o.visit == v} == set(arms)]
    used = [one for one in used if one.visit in names]
    level = config.statistics.ci_level
    blank = []
    for name in names:
        n_a, n_b = (sum(o.visit == name and o.arm == arm for o in used) for arm in arms)
        blank.append(Model("mmrm", "", "", name, *arms, n_a, n_b, level, adjusted_for))
    subjects = [one.subject for one in used]
    if not names or len(set(subjects)) <= len(names) + 2:
        return [replace(row, reason="TOO_FEW_SUBJECTS") for row in blank]
    at = np.array([[one.visit == name for name in names] for one in used], float)
    in_a = np.array([[float(one.arm == arms[0])] for one in used])
    covariates = _covariates(used, visits, config)
    design = np.column_stack([at * in_a, at, at * covariates[:, :1], covariates[:, 1:]])
    explained = adjusted.rank(design) < adjusted.rank(design[:, len(names) :]) + len(names)
    design = adjusted.independent(design)
    if explained or design.shape[1] >= len(used):
        return [replace(row, reason="NOT_ESTIMABLE") for row in blank]
    outcome = np.array([one.value for one in used])
    fitted = fit(outcome, design, subjects, [names.index(one.visit) for one in used])
    if fitted is None:
        return [replace(row, reason="NOT_CONVERGED") for row in blank]
    covariance = None if config.models.degrees_of_freedom == "satterthwaite" else adjusted_covariance(fitted)
    effects = [combination(fitted, np.eye(design.shape[1])[n], level, covariance) for n in range(len(names))]
    return [
        replace(row, effect=effect, reason="" if effect else "NOT_CONVERGED")
        for row, effect in zip(blank, effects, strict=True)
    ]


def _kruskal_wallis(of: Sequence[Seen], order: Sequence[str], config: TrialConfig) -> list[Model]:
    """The global test: whether any arm differs from any other."""
    rows = []
    for visit in order:
        of_arms = by_arm((one.arm, one.value) for one in of if one.visit == visit)
        total = sum(values.size for values in of_arms.values())
        level = config.statistics.ci_level
        blank = Model("kruskal_wallis", "", "", visit, "+".join(sorted(of_arms)), None, total, 0, level)
        ranked = [for_ranks(values) for values in of_arms.values()]
        if len(ranked) < 2 or np.ptp(np.concatenate(ranked)) == 0:
            rows.append(replace(blank, reason="NOT_ESTIMABLE"))
            continue
        found = stats.kruskal(*ranked)
        rows.append(replace(blank, effect=Effect(float(found.pvalue), float(found.statistic), len(ranked) - 1)))
    return rows


def _complete(
    method: str, of: Sequence[Seen], visits: Visits, config: TrialConfig
) -> tuple[list[Seen], tuple[str, ...]]:
    """Observations of the subjects whose covariates are all known, and what is adjusted for."""
    settings = config.models
    names: tuple[str, ...] = ()
    if method in ("ancova", "mmrm"):
        names = (*settings.covariates, *settings.factors)
    elif method == "rank_ancova":
        names = settings.covariates
    elif method == "van_elteren":
        names = settings.strata
    kept = [one for one in of if all(one.subject in visits.covariates[name] for name in names)]
    baseline = {"ancova": ("baseline",), "rank_ancova": ("baseline",), "mmrm": ("baseline_by_visit",)}
    return kept, (*baseline.get(method, ()), *names)


def _covariates(used: Sequence[Seen], visits: Visits, config: TrialConfig, factors: bool = True) -> Values:
    """The baseline less its mean, each covariate, and for each factor 0 and 1 for every level but the first."""
    baseline = np.array([one.baseline for one in used])
    columns = [baseline - baseline.mean()]
    for name in config.models.covariates:
        columns.append(np.array([_number(visits.covariates[name][one.subject], name) for one in used]))
    for name in config.models.factors if factors else ():
        of = [visits.covariates[name][one.subject] for one in used]
        columns += [np.array([float(text == level) for text in of]) for level in sorted(set(of))[1:]]
    return np.column_stack(columns)


def _number(text: str, column: str) -> float:
    """A covariate; what is no number must not pass as 0."""
    number = number_in(text)
    if number is None:
        raise TrialConfigError(f"models.covariates: {column!r} does not hold numbers; name it under factors")
    return number


def _strata(used: Sequence[Seen], visits: Visits, config: TrialConfig) -> list[str]:
    return [" / ".join(visits.covariates[name][one.subject] for name in config.models.strata) for one in used]
