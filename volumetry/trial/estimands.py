"""Analysis sets, intercurrent events by strategy, imputation by the reference arm: what a figure is about.

An intercurrent event is a day in a column of the visits table, one per subject. What the tables show is the
treatment policy: every value counts, whatever happened before it. The other strategies are sensitivity analyses:

* ``hypothetical``: values after the event are left out;
* ``while_on_treatment``: the last value up to the event stands for every visit after it;
* ``composite``: a subject with the event by the visit ranks worse than everyone without, as a death does; for the
  CT measures alone, of which more is worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from volumetry.storage.csv_tables import number_in
from volumetry.trial.compare import Comparison, Contrast, by_arm, compare
from volumetry.trial.config import TrialConfig, TrialConfigError
from volumetry.trial.imputation import Incomplete, analysed, imputed
from volumetry.trial.models import Model, Seen
from volumetry.trial.other_outcomes import NO, YES
from volumetry.trial.results import MEASURES
from volumetry.trial.statistics import Summary, Values, rank_sum
from volumetry.trial.visits import Visits

Outcomes = Mapping[tuple[str, str], Sequence[Seen]]


def members(visits: Visits, name: str, config: TrialConfig) -> frozenset[str]:
    """Subjects of an analysis set: those whose flag says yes.

    Parameters
    ----------
    visits
        From `read_visits`.
    name
        Of the set, as ``[sets]`` flags has it.
    config
        ``[sets]``.

    Returns
    -------
    frozenset[str]
        Their identifiers.

    Raises
    ------
    ConfigError
        If there is no such set, its column is not in the table, or a flag says neither yes nor no.
    """
    column = next((flag.column for flag in config.sets.flags if flag.name == name), None)
    if column is None or column not in visits.covariates:
        raise TrialConfigError(f"sets: the analysis set {name!r} has no column in the visits table ({column})")
    of = visits.covariates[column]
    odd = [subject for subject in visits.rows if of.get(subject, "").casefold() not in YES | NO]
    if odd:
        raise TrialConfigError(f"sets: {len(odd)} subjects have neither yes nor no in the column {column!r}")
    return frozenset(subject for subject, text in of.items() if text.casefold() in YES)


def restricted(visits: Visits, config: TrialConfig) -> Visits:
    """The subjects of the primary analysis set; everyone if the settings name none."""
    if not config.sets.primary:
        return visits
    kept = members(visits, config.sets.primary, config)
    if not kept:
        raise TrialConfigError(f"sets.primary: {config.sets.primary!r} has no member")
    rows = {subject: of for subject, of in visits.rows.items() if subject in kept}
    return replace(visits, rows=rows, arms={s: arm for s, arm in visits.arms.items() if s in kept})


def strategies(
    seen: Outcomes, contrasts: Sequence[Contrast], visits: Visits, config: TrialConfig
) -> list[Comparison]:
    """Every outcome in the other analysis sets, and under the strategies for every intercurrent event.

    Parameters
    ----------
    seen
        From `observations`.
    contrasts
        From `contrasts_of`.
    visits
        From `read_visits`.
    config
        ``[sets]`` and ``[estimands]``.

    Returns
    -------
    list[Comparison]
        Each with the name of its analysis.
    """
    rows: list[Comparison] = []
    for flag in (f for f in config.sets.flags if f.name != config.sets.primary):
        kept = members(visits, flag.name, config)
        for key, of in seen.items():
            rows += _rows(key, [one for one in of if one.subject in kept], f"set: {flag.name}", contrasts, config)
    for event in config.estimands.events:
        days = _event_days(visits, event.column)
        for strategy in event.strategies:
            name = f"{event.column}: {strategy}"
            for key, of in seen.items():
                if strategy == "composite" and key[0] not in MEASURES:
                    continue
                if strategy == "composite":
                    rows += [
                        replace(row, analysis=name) for row in _composite(key, of, days, contrasts, visits, config)
                    ]
                else:
                    before = [one for one in of if one.day is None or one.day <= days.get(one.subject, np.inf)]
                    used = before if strategy == "hypothetical" else _carried(of, before, days)
                    rows += _rows(key, used, name, contrasts, config)
    return rows


def imputations(seen: Outcomes, contrasts: Sequence[Contrast], visits: Visits, config: TrialConfig) -> list[Model]:
    """Multiple imputation under every method of the settings, and the tipping-point analysis.

    Parameters
    ----------
    seen
        From `observations`.
    contrasts
        From `contrasts_of`.
    visits
        From `read_visits`.
    config
        ``[estimands]``.

    Returns
    -------
    list[Model]
        Rows of models.csv: ``mi_mar``, ``mi_j2r``, ``mi_cir``, and ``mi_mar_delta_...``.
    """
    settings = config.estimands
    rows: list[Model] = []
    for (measure, scale), of in seen.items() if settings.imputation else ():
        names = list(dict.fromkeys(one.visit for one in of))
        for arm_a, arm_b in contrasts:
            if arm_b is not None:
                done = _imputed(
                    [one for one in of if one.arm in (arm_a, arm_b)], names, (arm_a, arm_b), visits, config
                )
                rows += [replace(row, measure=measure, scale=scale) for row in done]
    return rows


def _imputed(
    of: list[Seen], names: list[str], arms: tuple[str, str], visits: Visits, config: TrialConfig
) -> list[Model]:
    """Of the subjects with a baseline value and at least one change."""
    settings, level = config.estimands, config.statistics.ci_level
    subjects = list(dict.fromkeys(one.subject for one in of))
    row_of = {subject: n for n, subject in enumerate(subjects)}
    values = np.full((len(subjects), 1 + len(names)), np.nan)
    for one in of:
        values[row_of[one.subject], 0] = one.baseline
        values[row_of[one.subject], 1 + names.index(one.visit)] = one.value
    in_a = np.array([next(o.arm for o in of if o.subject == s) == arms[0] for s in subjects], bool)
    dead = np.zeros(values.shape, bool)
    for subject in subjects:
        if any(row.status == "died" for row in visits.rows[subject]):
            dead[row_of[subject]] = np.isnan(values[row_of[subject]])
    sizes = (int(in_a.sum()), int((~in_a).sum()))
    asked = [(f"mi_{method}", method, 0.0) for method in settings.imputation]
    asked += [(f"mi_mar_delta_{delta:g}", "mar", delta) for delta in settings.deltas]
    rows = []
    done = _completed(Incomplete(values, in_a, dead), {method for _name, method, _delta in asked}, config)
    for name, method, delta in asked:
        for place, visit in enumerate(names, start=1):
            blank = Model(name, "", "", visit, *arms, *sizes, level, ("baseline",))
            if isinstance(done, str):
                rows.append(replace(blank, reason=done))
                continue
            effect = analysed(Incomplete(values, in_a, dead), [d[method] for d in done], place, level, delta)
            rows.append(replace(blank, effect=effect, reason="" if effect else "NOT_ESTIMABLE"))
    return rows


def _completed(table: Incomplete, methods: set[str], config: TrialConfig) -> list[dict[str, Values]] | str:
    """Completed tables, or why there are none."""
    count = table.values.shape[1]
    per_arm = min(table.in_a.sum(), (~table.in_a).sum())
    if per_arm <= count + 1 or (~np.isnan(table.values)).sum(axis=0).min() < count + 2:
        return "TOO_FEW_SUBJECTS"
    try:
        return list(imputed(table, sorted(methods), config.estimands.imputations, config.statistics.seed))
    except (np.linalg.LinAlgError, ValueError):
        return "NOT_ESTIMABLE"


def _rows(
    key: tuple[str, str], of: Sequence[Seen], analysis: str, contrasts: Sequence[Contrast], config: TrialConfig
) -> list[Comparison]:
    rows = []
    for visit in dict.fromkeys(one.visit for one in of):
        values = _by_arm([one for one in of if one.visit == visit])
        for contrast in contrasts:
            done = compare(contrast, values, config.statistics)
            rows.append(replace(done, measure=key[0], scale=key[1], visit=visit, analysis=analysis))
    return rows


def _composite(
    key: tuple[str, str],
    of: Sequence[Seen],
    days: Mapping[str, float],
    contrasts: Sequence[Contrast],
    visits: Visits,
    config: TrialConfig,
) -> list[Comparison]:
    """Rank-sum test with everyone behind who had the event by the visit, whether or not there is a value."""
    rows = []
    for visit, day in _visit_days(of).items():
        failed = {subject for subject, when in days.items() if when <= day and subject in visits.rows}
        here = _by_arm([one for one in of if one.visit == visit and one.subject not in failed])
        worst = max((float(values.max()) for values in here.values()), default=0.0) + 1
        for arm_a, arm_b in contrasts:
            ranked = []
            for arm in (arm_a, arm_b):
                count = sum(visits.arms.get(subject) == arm for subject in failed)
                ranked.append(np.append(here.get(arm or "", np.empty(0)), np.full(count, worst)))
            a, b = (Summary(int(values.size)) for values in ranked)
            blank = Comparison(key[0], key[1], visit, arm_a, arm_b, a, b, reasons=("RANKS_ONLY",))
            both = arm_b is not None and a.n and b.n
            rows.append(
                replace(blank, test=rank_sum(ranked[0], ranked[1], config.statistics.exact_below_n))
                if both
                else blank
            )
    return rows


def _carried(of: Sequence[Seen], before: Sequence[Seen], days: Mapping[str, float]) -> list[Seen]:
    """Values up to the event, and the last of them at every visit that is due after it."""
    visit_days = _visit_days(of)
    found = list(before)
    by_subject: dict[str, list[Seen]] = {}
    for one in before:
        by_subject.setdefault(one.subject, []).append(one)
    for subject, own in by_subject.items():
        there = {one.visit for one in own}
        last = max(own, key=lambda one: visit_days[one.visit])
        due = [v for v, day in visit_days.items() if day > days.get(subject, np.inf) and v not in there]
        found += [replace(last, visit=visit) for visit in due]
    return found


def _visit_days(of: Sequence[Seen]) -> dict[str, float]:
    """The median day of every visit."""
    days: dict[str, list[float]] = {}
    for one in of:
        days.setdefault(one.visit, []).extend([] if one.day is None else [one.day])
    return {visit: median(found) if found else float("inf") for visit, found in days.items()}


def _event_days(visits: Visits, column: str) -> dict[str, float]:
    if column not in visits.covariates:
        raise TrialConfigError(f"estimands.events: the visits table has no column {column!r}")
    days = {subject: number_in(text) for subject, text in visits.covariates[column].items()}
    if None in days.values():
        raise TrialConfigError(f"estimands.events: the column {column!r} must hold days as numbers")
    return {subject: day for subject, day in days.items() if day is not None}


def _by_arm(of: Sequence[Seen]) -> dict[str, Values]:
    return by_arm((one.arm, one.value) for one in of)
