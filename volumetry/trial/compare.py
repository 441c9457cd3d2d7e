"""Arms against the reference: one `Comparison` per measure, scale and visit, and its sensitivity analyses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from volumetry.errors import ConfigError
from volumetry.storage.csv_tables import Cell
from volumetry.trial.change import CHANGES, Change
from volumetry.trial.config import Statistics, TrialConfig, plain
from volumetry.trial.pairwise import hodges_lehmann
from volumetry.trial.results import MEASURES
from volumetry.trial.statistics import (
    Interval,
    RankTest,
    Summary,
    Values,
    can_be_exact,
    holm,
    rank_sum,
    shift_interval,
    summarise,
)

POOLED = "all"
"""The arm of everyone while arms are absent."""
CONTRACT = (
    *("measure", "scale", "visit", "arm_a", "arm_b", "n_a", "n_b"),
    *("median_a", "q1_a", "q3_a", "median_b", "q1_b", "q3_b", "shift", "ci_low", "ci_high", "p"),
)
COLUMNS = (
    *CONTRACT,
    *("mean_a", "sd_a", "mean_b", "sd_b", "ci_method", "ci_level", "ci_low_asymptotic", "ci_high_asymptotic"),
    *("p_method", "p_holm", "measurement_low", "measurement_high", "primary", "reason"),
)
SENSITIVITIES = ("without_grade_c", "worst_rank_death", "last_observation_carried_forward")
OPEN_END = "ZERO_IS_AN_OPEN_END"
"""With ties an end of the interval can be 0 although the test rejects a shift of 0: 0 is then outside."""
_EQUAL = 5e-10  # as the ranks take it
Contrast = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of endpoint.csv: `arm_a` minus `arm_b`.

    Parameters
    ----------
    measure
        ``lesion``, ``solid``, ``ground_glass``, or a numeric column of visits.csv.
    scale
        Name of a change, such as ``relative_percent``.
    visit
        Name of the analysis visit.
    arm_a, arm_b
        The second is the reference; None where nothing is compared.
    a, b
        Each arm's values.
    shift
        Hodges-Lehmann estimate, `arm_a` minus `arm_b`, in the unit of the scale.
    interval
        Of the shift, by the exact distribution where it can be had, else by the normal approximation.
    asymptotic
        Of the shift, by the normal approximation.
    test
        Wilcoxon rank-sum.
    p_holm
        Adjusted p-value; None without adjustment.
    measurement
        The shift's interval from the scans' own intervals alone; None where they are unknown.
    primary
        Whether this is the primary endpoint of the settings.
    analysis
        ``observed_cases``, or which sensitivity analysis.
    reasons
        Why a figure is absent.
    """

    measure: str
    scale: str
    visit: str
    arm_a: str
    arm_b: str | None
    a: Summary
    b: Summary | None
    shift: float | None = None
    interval: Interval | None = None
    asymptotic: Interval | None = None
    test: RankTest | None = None
    p_holm: float | None = None
    measurement: tuple[float, float] | None = None
    primary: bool = False
    analysis: str = "observed_cases"
    reasons: tuple[str, ...] = field(default=())

    def row(self) -> dict[str, Cell]:
        """The cells of endpoint.csv, and of sensitivity.csv.

        Returns
        -------
        dict[str, Cell]
            By column.
        """
        cells: dict[str, Cell] = {
            "measure": self.measure,
            "scale": self.scale,
            "visit": self.visit,
            "arm_a": self.arm_a,
            "arm_b": self.arm_b,
            "shift": self.shift,
            "p": self.test.p if self.test else None,
            "p_method": self.test.method if self.test else None,
            "p_holm": self.p_holm,
            "primary": self.primary,
            "analysis": self.analysis,
            "reason": ";".join(self.reasons),
        }
        for arm, summary in (("a", self.a), ("b", self.b)):
            for name in ("n", "median", "q1", "q3", "mean", "sd"):
                cells[f"{name}_{arm}"] = getattr(summary, name) if summary else None
        if self.interval:
            cells |= {"ci_low": self.interval.low, "ci_high": self.interval.high}
            cells |= {"ci_method": self.interval.method, "ci_level": self.interval.level}
        if self.asymptotic:
            cells |= {"ci_low_asymptotic": self.asymptotic.low, "ci_high_asymptotic": self.asymptotic.high}
        if self.measurement:
            cells |= {"measurement_low": self.measurement[0], "measurement_high": self.measurement[1]}
        return cells


def contrasts_of(arms: Iterable[str], config: TrialConfig) -> tuple[Contrast, ...]:
    """Every arm against the reference; without arms, or with one, that one alone.

    Parameters
    ----------
    arms
        Of the subjects.
    config
        ``[arms]`` names the reference.

    Returns
    -------
    tuple[Contrast, ...]
        (arm, reference), by name, then the other pairs if the settings ask for them; (arm, None) where nothing is
        compared.

    Raises
    ------
    ConfigError
        If there are several arms and none, or more than one, is the reference of the settings.
    """
    names = sorted(set(arms))
    if len(names) < 2:
        return ((names[0] if names else POOLED, None),)
    for wanted in config.arms.reference:
        found = [name for name in names if plain(name) == plain(wanted)]
        if len(found) == 1:
            others = [name for name in names if name != found[0]]
            pairs = [(name, found[0]) for name in others]
            if config.arms.compare == "all_pairs":
                pairs += list(combinations(others, 2))
            return tuple(pairs)
    raise ConfigError(
        f"arms.reference: none of {', '.join(config.arms.reference)} is an arm of the table ({', '.join(names)})",
        hint='Name the reference arm in the file given with --config: [arms] reference = ["..."]',
    )


def compare(contrast: Contrast, values: Mapping[str, Values], settings: Statistics) -> Comparison:
    """Both arms' summaries, the Hodges-Lehmann shift and its intervals, the test; the caller names the line."""
    arm_a, arm_b = contrast
    a = values.get(arm_a, np.empty(0))
    blank = Comparison("", "", "", arm_a, arm_b, summarise(a, settings.quartiles), None)
    if arm_b is None:
        return replace(blank, reasons=("ONE_ARM",))
    b = values.get(arm_b, np.empty(0))
    blank = replace(blank, b=summarise(b, settings.quartiles))
    if not a.size or not b.size:
        return replace(
            blank, reasons=tuple(f"NO_VALUES:{arm}" for arm, x in ((arm_a, a), (arm_b, b)) if not x.size)
        )
    exact = can_be_exact(a, b, settings.exact_below_n)
    asymptotic = shift_interval(a, b, settings.ci_level, exact=False)
    interval = shift_interval(a, b, settings.ci_level, exact=True) if exact else asymptotic
    test = rank_sum(a, b, settings.exact_below_n)
    reasons = ([] if interval else ["TOO_FEW_FOR_INTERVAL"]) + ([] if test else ["ALL_EQUAL"])
    if (
        interval
        and test
        and test.p < 1 - settings.ci_level
        and interval.low <= _EQUAL
        and interval.high >= -_EQUAL
    ):
        reasons.append(OPEN_END)
    return replace(
        blank,
        shift=hodges_lehmann(a, b),
        interval=interval,
        asymptotic=asymptotic,
        test=test,
        reasons=tuple(reasons),
    )


def endpoint(changes: Sequence[Change], contrasts: Sequence[Contrast], config: TrialConfig) -> list[Comparison]:
    """The trial's table: observed cases, every grade kept, both scales.

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
    list[Comparison]
        By measure, scale, visit and contrast.

    References
    ----------
    NCT04288102: the primary outcome is the change in lesion proportion (%) of full lung volume at day 28. Rank-sum
    test and Hodges-Lehmann shift are inferred from Shi et al. 2021, doi 10.1038/s41392-021-00488-5.
    """
    names = [(m, s) for m in MEASURES for s in config.endpoint.scales]
    rows = _over(changes, names, contrasts, config.statistics)
    visit = primary_visit(changes, config)
    first = (config.endpoint.primary_measure, config.endpoint.primary_scale, visit)
    marked = [replace(row, primary=(row.measure, row.scale, row.visit) == first) for row in rows]
    return _with_holm(marked) if config.statistics.multiplicity == "holm" else marked


def secondary(changes: Sequence[Change], contrasts: Sequence[Contrast], config: TrialConfig) -> list[Comparison]:
    """The trial's table in mL, and for the lesion in grams and HU mL.

    Parameters
    ----------
    changes
        From `changes_of`.
    contrasts
        From `contrasts_of`.
    config
        ``[statistics]``.

    Returns
    -------
    list[Comparison]
        By measure, scale, visit and contrast.
    """
    scales = [name for name in CHANGES if CHANGES[name] != "percent"]
    names = [(m, s) for m in MEASURES for s in scales if m == "lesion" or CHANGES[s] == "ml"]
    return _over(changes, names, contrasts, config.statistics)


def sensitivity(changes: Sequence[Change], contrasts: Sequence[Contrast], config: TrialConfig) -> list[Comparison]:
    """The trial's table again: without pairs of grade C; deaths ranked worst; last observation carried forward.

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
    list[Comparison]
        Each with the name of its analysis.
    """
    names = [(m, s) for m in MEASURES for s in config.endpoint.scales]
    kept = [c for c in changes if c.pair is None or c.pair.grade != "C"]
    rows = [replace(r, analysis=SENSITIVITIES[0]) for r in _over(kept, names, contrasts, config.statistics)]
    at = by_measure_and_visit(changes)
    for measure, scale in names:
        for visit in follow_ups(changes):
            of = at.get((measure, visit), [])
            for contrast in contrasts:
                done = replace(_worst_rank(of, scale, contrast, config.statistics), measure=measure, visit=visit)
                rows.append(replace(done, scale=scale, analysis=SENSITIVITIES[1]))
    carried = carried_forward(changes)
    rows += [replace(r, analysis=SENSITIVITIES[2]) for r in _over(carried, names, contrasts, config.statistics)]
    return rows


def carried_forward(changes: Sequence[Change]) -> list[Change]:
    """Changes with each absent one of a follow-up filled by the last earlier one of the same subject and scale.

    Every scale is judged by itself: a baseline of 0 has no relative change to carry, but one in points. The dead
    have no later value to stand for, so deaths stay absent; a baseline is never carried forward.
    """
    last: dict[tuple[str, str], dict[str, float]] = {}
    filled: list[Change] = []
    for change in changes:
        known = last.setdefault((change.subject, change.measure), {})
        known.update(change.changes)
        if change.is_baseline or change.died:
            filled.append(change)
        else:
            empty = {name: why for name, why in change.empty.items() if name not in known}
            filled.append(replace(change, changes=dict(known), empty=empty))
    return filled


def follow_ups(changes: Sequence[Change]) -> list[str]:
    """Visits after the baseline, in time order."""
    return list(dict.fromkeys(change.visit for change in changes if not change.is_baseline))


def primary_visit(changes: Sequence[Change], config: TrialConfig) -> str | None:
    """The visit that the settings call primary, as the table spells it; without it, the last visit."""
    visits = follow_ups(changes)
    wanted = config.windows.named(config.endpoint.primary_visit)
    names = {plain(config.endpoint.primary_visit), *(plain(name) for name in (wanted.names if wanted else ()))}
    return next((visit for visit in visits if plain(visit) in names), visits[-1] if visits else None)


def by_measure_and_visit(changes: Iterable[Change]) -> dict[tuple[str, str], list[Change]]:
    """The changes in their order, by measure and visit."""
    found: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        found.setdefault((change.measure, change.visit), []).append(change)
    return found


def arm_of(change: Change) -> str:
    """The change's arm, or the pooled one."""
    return change.arm or POOLED


def values_by_arm(changes: Iterable[Change], scale: str) -> dict[str, Values]:
    """Known values of one scale by arm."""
    return by_arm((arm_of(change), change.changes[scale]) for change in changes if scale in change.changes)


def by_arm(values: Iterable[tuple[str, float]]) -> dict[str, Values]:
    """Values of each arm, in their order, from pairs of an arm and a value."""
    found: dict[str, list[float]] = {}
    for arm, value in values:
        found.setdefault(arm, []).append(value)
    return {arm: np.array(of) for arm, of in found.items()}


def _over(
    changes: Sequence[Change],
    names: Sequence[tuple[str, str]],
    contrasts: Sequence[Contrast],
    settings: Statistics,
) -> list[Comparison]:
    rows = []
    at = by_measure_and_visit(changes)
    for measure, scale in names:
        for visit in follow_ups(changes):
            values = values_by_arm(at.get((measure, visit), ()), scale)
            for contrast in contrasts:
                done = compare(contrast, values, settings)
                rows.append(replace(done, measure=measure, scale=scale, visit=visit))
    return rows


def _worst_rank(changes: Sequence[Change], scale: str, contrast: Contrast, settings: Statistics) -> Comparison:
    """Rank-sum test with every death behind all observed values, deaths tied; it has ranks only, so no shift.

    A death needs no baseline to rank last.
    """
    known = values_by_arm(changes, scale)
    worst = max((float(values.max()) for values in known.values()), default=0.0) + 1
    arms = [arm for arm in contrast if arm is not None]
    dead = {arm: sum(c.died for c in changes if arm_of(c) == arm) for arm in arms}
    ranked = {arm: np.append(known.get(arm, np.empty(0)), np.full(dead[arm], worst)) for arm in arms}
    summary = {arm: Summary(int(ranked[arm].size)) for arm in arms}
    a, b = contrast
    blank = Comparison("", scale, "", a, b, summary[a], summary[b] if b else None, reasons=("RANKS_ONLY",))
    if b is None or not ranked[a].size or not ranked[b].size:
        return blank
    return replace(blank, test=rank_sum(ranked[a], ranked[b], settings.exact_below_n))


def _with_holm(rows: list[Comparison]) -> list[Comparison]:
    """Adjusted p-values; the family is every measure, visit and arm within one scale."""
    adjusted: dict[int, float] = {}
    for scale in {row.scale for row in rows}:
        places = [n for n, row in enumerate(rows) if row.scale == scale and row.test]
        p_values = [row.test.p for row in rows if row.scale == scale and row.test]
        adjusted |= dict(zip(places, holm(p_values), strict=True))
    return [replace(row, p_holm=adjusted.get(n)) for n, row in enumerate(rows)]
