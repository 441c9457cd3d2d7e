"""Other outcomes: further numeric columns through the same comparison, yes/no findings and normal CT as counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from volumetry.storage.csv_tables import Cell, number_in
from volumetry.trial.analysis_config import Threshold
from volumetry.trial.change import CHANGES, Change
from volumetry.trial.compare import POOLED, Comparison, Contrast, arm_of, by_arm, compare, follow_ups
from volumetry.trial.config import TrialConfig, TrialConfigError
from volumetry.trial.proportions import Ratio, exact_odds_ratio, miettinen_nurminen, newcombe
from volumetry.trial.results import MEASURES
from volumetry.trial.statistics import Interval, Summary, Values, fisher, median_interval, summarise, woolf
from volumetry.trial.visit_windows import Placement
from volumetry.trial.visits import Visits

EVENT_COLUMNS = (
    *("outcome", "visit", "arm_a", "arm_b", "events_a", "n_a", "events_b", "n_b", "percent_a", "percent_b"),
    *("p", "odds_ratio", "ci_low", "ci_high", "reason"),
    *("risk_difference_percent", "difference_ci_low", "difference_ci_high", "difference_method"),
    *("odds_ratio_exact", "exact_ci_low", "exact_ci_high"),
)
SUMMARY_COLUMNS = (
    *("measure", "quantity", "visit", "arm", "n", "median", "q1", "q3", "mean", "sd", "min", "max"),
    *("median_ci_low", "median_ci_high", "median_ci_level"),
)
NORMAL_CT = "normal_ct"


@dataclass(frozen=True, slots=True)
class Events:
    """Counts of one yes/no outcome at one visit.

    Parameters
    ----------
    outcome, visit
        Name of the outcome and of the analysis visit.
    arm_a, arm_b
        The second is the reference; None where nothing is compared.
    events_a, events_b
        Subjects with the outcome.
    n_a, n_b
        Subjects for whom it is known.
    p
        Two-sided Fisher exact test.
    odds_ratio, interval
        With Woolf's interval; None if a cell is 0.
    difference
        Interval of the difference of the proportions, as fractions.
    exact
        The conditional odds ratio with its exact interval.
    reason
        Why a figure is absent.
    """

    outcome: str
    visit: str
    arm_a: str
    arm_b: str | None
    events_a: int
    n_a: int
    events_b: int | None = None
    n_b: int | None = None
    p: float | None = None
    odds_ratio: float | None = None
    interval: Interval | None = None
    difference: Interval | None = None
    exact: Ratio | None = None
    reason: str = ""

    def row(self) -> dict[str, Cell]:
        """The cells of events.csv."""
        return {
            **{name: getattr(self, name) for name in EVENT_COLUMNS if hasattr(self, name)},
            "percent_a": 100 * self.events_a / self.n_a if self.n_a else None,
            "percent_b": 100 * (self.events_b or 0) / self.n_b if self.n_b else None,
            "ci_low": self.interval.low if self.interval else None,
            "ci_high": self.interval.high if self.interval else None,
            **self._difference_cells(),
            "odds_ratio_exact": self.exact.value if self.exact else None,
            "exact_ci_low": self.exact.low if self.exact else None,
            "exact_ci_high": self.exact.high if self.exact else None,
        }

    @property
    def risk_difference_percent(self) -> float | None:
        """Difference of the proportions in percentage points."""
        if not self.n_a or not self.n_b:
            return None
        return 100 * (self.events_a / self.n_a - (self.events_b or 0) / self.n_b)

    def _difference_cells(self) -> dict[str, Cell]:
        if self.difference is None:
            return {}
        return {
            "difference_ci_low": 100 * self.difference.low,
            "difference_ci_high": 100 * self.difference.high,
            "difference_method": self.difference.method,
        }


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """One line of summary.csv: a quantity at a visit in an arm.

    Parameters
    ----------
    measure
        ``lesion``, ``solid``, ``ground_glass``, ``lung``, or a numeric column of visits.csv.
    quantity
        Such as ``percent``, ``ml`` or ``relative_percent``.
    visit, arm
        Of the values.
    summary
        n, median, quartiles, mean, SD and range.
    median_interval
        Distribution-free confidence interval of the median; None if n is too small.
    """

    measure: str
    quantity: str
    visit: str
    arm: str
    summary: Summary
    median_interval: Interval | None

    def row(self) -> dict[str, Cell]:
        """The cells of summary.csv.

        Returns
        -------
        dict[str, Cell]
            By column.
        """
        s = self.summary
        found = self.median_interval
        ends = (found.low, found.high, found.level) if found else (None, None, None)
        values = (s.n, s.median, s.q1, s.q3, s.mean, s.sd, s.low, s.high, *ends)
        names = (self.measure, self.quantity, self.visit, self.arm)
        return dict(zip(SUMMARY_COLUMNS, (*names, *values), strict=True))


def numeric_outcomes(
    placements: Sequence[Placement], visits: Visits, contrasts: Sequence[Contrast], config: TrialConfig
) -> list[Comparison]:
    """Value and change from baseline of every numeric column, at the visits that have any.

    Parameters
    ----------
    placements
        From `place`.
    visits
        From `read_visits`.
    contrasts
        From `contrasts_of`.
    config
        ``[statistics]``.

    Returns
    -------
    list[Comparison]
        Scale ``value`` and scale ``change``.
    """
    rows = []
    for extra in (e for e in visits.extras if e.kind == "numeric"):
        known = values_at(placements, extra.column)
        base = at_visit(known, visits.baseline)
        for visit in [v for v in _visits_of(placements) if v != visits.baseline]:
            here = at_visit(known, visit)
            change = {s: value - base[s] for s, value in here.items() if s in base}
            for scale, by_subject in (("value", here), ("change", change)):
                if not by_subject:
                    continue
                of_arms = _by_arm(by_subject, visits)
                for contrast in contrasts:
                    done = compare(contrast, of_arms, config.statistics)
                    rows.append(replace(done, measure=extra.column, scale=scale, visit=visit))
    return rows


def event_outcomes(
    placements: Sequence[Placement],
    changes: Sequence[Change],
    visits: Visits,
    contrasts: Sequence[Contrast],
    config: TrialConfig,
) -> list[Events]:
    """Normal CT at every follow-up, and every yes/no column at the visits that have it.

    Parameters
    ----------
    placements
        From `place`.
    changes
        From `changes_of`.
    visits
        From `read_visits`.
    contrasts
        From `contrasts_of`.
    config
        ``[normal_ct]`` and ``[statistics]``.

    Returns
    -------
    list[Events]
        By outcome, visit and contrast.
    """
    limit = config.normal_ct.lesion_percent_below
    normal = {
        (c.subject, c.visit): float(c.levels["value_percent"] < limit)
        for c in changes
        if c.measure == "lesion" and not c.is_baseline and "value_percent" in c.levels
    }
    columns = [(NORMAL_CT, normal)]
    columns += [(e.column, values_at(placements, e.column)) for e in visits.extras if e.kind == "yes_no"]
    columns += [
        responders(threshold, changes, placements, visits, config) for threshold in config.responders.thresholds
    ]
    rows = []
    for outcome, known in columns:
        for visit in _visits_of(placements):
            by_subject = at_visit(known, visit)
            if by_subject or (outcome == NORMAL_CT and visit in follow_ups(changes)):
                of_arms = _by_arm(by_subject, visits)
                rows += [_events(outcome, visit, contrast, of_arms, config) for contrast in contrasts]
    return rows


def responders(
    threshold: Threshold,
    changes: Sequence[Change],
    placements: Sequence[Placement],
    visits: Visits,
    config: TrialConfig,
) -> tuple[str, dict[tuple[str, str], float]]:
    """Whose change is at most a threshold: the outcome's name, and 1 or 0 by subject and visit.

    Parameters
    ----------
    threshold
        One of ``[responders]``.
    changes
        From `changes_of`.
    placements
        From `place`.
    visits
        From `read_visits`.
    config
        ``[responders]``: what a subject without the change is.

    Returns
    -------
    tuple[str, dict[tuple[str, str], float]]
        Of the follow-ups.

    Raises
    ------
    ConfigError
        If there is no such change.
    """
    measure, scale = threshold.measure, threshold.scale
    if measure in MEASURES and scale in CHANGES:
        known = {
            (c.subject, c.visit): c.changes[scale] for c in changes if c.measure == measure and scale in c.changes
        }
        asked = {(c.subject, c.visit) for c in changes if not c.is_baseline}
    elif scale == "change" and measure in {e.column for e in visits.extras if e.kind == "numeric"}:
        values = values_at(placements, measure)
        base = at_visit(values, visits.baseline)
        known = {(s, v): x - base[s] for (s, v), x in values.items() if v != visits.baseline and s in base}
        seen = {visit for _subject, visit in known}
        asked = {(p.subject, p.visit) for p in placements if p.visit in seen}
    else:
        raise TrialConfigError(f"responders.thresholds: there is no change {scale!r} of {measure!r}")
    found = {key: float(value <= threshold.at_most) for key, value in known.items()}
    if config.responders.missing == "non_responder":
        found = dict.fromkeys(sorted(asked), 0.0) | found
    return f"{measure} {scale} <= {threshold.at_most:g}", found


def summaries(
    placements: Sequence[Placement], changes: Sequence[Change], visits: Visits, config: TrialConfig
) -> list[ArmSummary]:
    """Every quantity at every visit in every arm, the baseline included.

    Parameters
    ----------
    placements
        From `place`.
    changes
        From `changes_of`.
    visits
        From `read_visits`.
    config
        ``[statistics]``.

    Returns
    -------
    list[ArmSummary]
        By measure, quantity, visit and arm.
    """
    found: dict[tuple[str, str, str, str], list[float]] = {}
    for change in changes:
        for name, value in (*change.levels.items(), *change.changes.items()):
            if name.startswith("baseline_") or (name == "lung_ml" and change.measure != "lesion"):
                continue
            measure = "lung" if name == "lung_ml" else change.measure
            quantity = "ml" if name == "lung_ml" else name.removeprefix("value_")
            found.setdefault((measure, quantity, change.visit, arm_of(change)), []).append(value)
    for extra in (e for e in visits.extras if e.kind == "numeric"):
        for (subject, visit), value in values_at(placements, extra.column).items():
            found.setdefault((extra.column, "value", visit, visits.arms.get(subject, POOLED)), []).append(value)
    for column, of in visits.covariates.items():
        numbers = {subject: number_in(text) for subject, text in of.items()}
        for subject, number in numbers.items() if None not in numbers.values() else ():
            key = (column, "covariate", visits.baseline, visits.arms.get(subject, POOLED))
            found.setdefault(key, []).append(float(number or 0.0))
    level, quartiles = config.statistics.ci_level, config.statistics.quartiles
    order = {visit: n for n, visit in enumerate(_visits_of(placements))}
    rows = [
        ArmSummary(*key, summarise(np.array(values), quartiles), median_interval(np.array(values), level))
        for key, values in found.items()
    ]
    measures = list(dict.fromkeys(row.measure for row in rows))
    quantities = list(dict.fromkeys(row.quantity for row in rows))
    return sorted(
        rows, key=lambda r: (measures.index(r.measure), quantities.index(r.quantity), order[r.visit], r.arm)
    )


def values_at(placements: Sequence[Placement], column: str) -> dict[tuple[str, str], float]:
    """Known values of a further column by subject and visit; yes is 1, no is 0."""
    return {(p.subject, p.visit): float(p.values[column]) for p in placements if column in p.values}


def at_visit(known: Mapping[tuple[str, str], float], visit: str) -> dict[str, float]:
    """Values of one visit by subject, from values by subject and visit."""
    return {subject: value for (subject, at), value in known.items() if at == visit}


def _visits_of(placements: Sequence[Placement]) -> list[str]:
    return list(dict.fromkeys(p.visit for p in placements))


def _by_arm(by_subject: Mapping[str, float], visits: Visits) -> dict[str, Values]:
    return by_arm((visits.arms.get(subject, POOLED), value) for subject, value in by_subject.items())


def _events(
    outcome: str, visit: str, contrast: Contrast, values: Mapping[str, Values], config: TrialConfig
) -> Events:
    arm_a, arm_b = contrast
    of_a = values.get(arm_a, np.empty(0))
    row = Events(outcome, visit, arm_a, arm_b, int(of_a.sum()), int(of_a.size))
    if arm_b is None:
        return replace(row, reason="ONE_ARM")
    of_b = values.get(arm_b, np.empty(0))
    row = replace(row, events_b=int(of_b.sum()), n_b=int(of_b.size))
    counts = (row.events_a, row.n_a, int(of_b.sum()), int(of_b.size))
    if not of_a.size or not of_b.size:
        return replace(row, reason="NO_VALUES")
    level = config.statistics.ci_level
    ratio = woolf(*counts, level)
    interval = newcombe if config.statistics.risk_difference == "newcombe" else miettinen_nurminen
    row = replace(
        row, p=fisher(*counts), difference=interval(*counts, level), exact=exact_odds_ratio(*counts, level)
    )
    return replace(row, odds_ratio=ratio[0], interval=ratio[1]) if ratio else replace(row, reason="ZERO_CELL")
