"""Table 1: the subjects of each arm at baseline, by covariates, baseline imaging and further outcomes.

No p-value: randomisation made the groups, and a test of them would ask whether it was chance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from volumetry.storage.csv_tables import Cell, number_in
from volumetry.trial.change import Change
from volumetry.trial.compare import POOLED
from volumetry.trial.config import TrialConfig, plain
from volumetry.trial.consort import arms_of
from volumetry.trial.layout import TITLES, number, quartiles
from volumetry.trial.outcomes import at_visit, values_at
from volumetry.trial.printed import Printed, PrintedRow
from volumetry.trial.results import MEASURES
from volumetry.trial.statistics import Summary, summarise
from volumetry.trial.visit_windows import Placement
from volumetry.trial.visits import Visits

ALL = "all arms"
COLUMNS = (
    *("characteristic", "level", "arm", "n", "missing", "count", "percent"),
    *("mean", "sd", "median", "q1", "q3", "min", "max"),
)
_GROUPS = frozenset(
    plain(name)
    for name in ("sex", "gender", "race", "site", "siteid", "centre", "center", "country", "region", "stratum")
) | {"strata"}
"""Covariates that are groups although they may be written as numbers."""
_NOTES = (
    "Percentages are of the subjects for whom the characteristic is known. Arms are not tested against each "
    "other.",
)
Known = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Characteristic:
    """A number described, or one level of a group counted, in one arm.

    Parameters
    ----------
    characteristic, level
        What it is, and of a group which level; empty for a number.
    arm
        Or ``all arms``.
    n, missing
        Subjects of the arm for whom it is known, and is not.
    summary
        Of a number.
    count
        Of a level.
    """

    characteristic: str
    level: str
    arm: str
    n: int
    missing: int
    summary: Summary | None = None
    count: int | None = None

    def row(self) -> dict[str, Cell]:
        """The cells of baseline.csv."""
        cells: dict[str, Cell] = {name: getattr(self, name) for name in COLUMNS[:6]}
        if self.count is not None and self.n:
            cells["percent"] = 100 * self.count / self.n
        if self.summary is not None:
            s = self.summary
            names = ("mean", "sd", "median", "q1", "q3", "min", "max")
            cells |= dict(zip(names, (s.mean, s.sd, s.median, s.q1, s.q3, s.low, s.high), strict=True))
        return cells


def characteristics(
    visits: Visits, placements: Sequence[Placement], changes: Sequence[Change], config: TrialConfig
) -> list[Characteristic]:
    """Every characteristic in every arm.

    Parameters
    ----------
    visits
        The subjects of the primary analysis set.
    placements
        From `place`.
    changes
        From `changes_of`.
    config
        Which covariates are groups; those that mark analysis sets and intercurrent events are no characteristics.

    Returns
    -------
    list[Characteristic]
        Covariates, imaging at baseline, further outcomes at baseline; by level and arm.
    """
    arms = arms_of(visits)
    rows: list[Characteristic] = []
    for name, known in _known(visits, placements, changes, config):
        is_group = any(isinstance(value, str) for value in known.values())
        levels = sorted({str(value) for value in known.values()}) if is_group else [""]
        for level in levels:
            for arm in (*arms, ALL) if len(arms) > 1 else arms:
                of = [s for s in visits.rows if arm == ALL or visits.arms.get(s, POOLED) == arm]
                values = [known[s] for s in of if s in known]
                blank = Characteristic(name, level, arm, len(values), len(of) - len(values))
                rows.append(_described(blank, values, config))
    return rows


def printed_characteristics(rows: Sequence[Characteristic]) -> Printed:
    """Table 1 for print: a column for each arm, mean (SD) and median (Q1, Q3) of numbers, n (%) of levels."""
    arms = tuple(dict.fromkeys(row.arm for row in rows))
    lines: list[PrintedRow] = []
    for name in dict.fromkeys(row.characteristic for row in rows):
        of = {(row.level, row.arm): row for row in rows if row.characteristic == name}
        levels = list(dict.fromkeys(level for level, _arm in of))
        lines.append(PrintedRow((name,), is_heading=True))
        for level in levels:
            in_arms = [of[level, arm] for arm in arms]
            if level:
                lines.append(PrintedRow((level, *(_share(row) for row in in_arms)), level=1))
                continue
            lines.append(PrintedRow(("n", *(str(row.n) for row in in_arms)), level=1))
            summaries = [row.summary or Summary(0) for row in in_arms]
            lines.append(PrintedRow(("mean (SD)", *(_mean(s) for s in summaries)), level=1))
            lines.append(PrintedRow(("median (Q1, Q3)", *(quartiles(s) for s in summaries)), level=1))
        missing = [of[levels[0], arm].missing for arm in arms] if levels else []
        if any(missing):
            lines.append(PrintedRow(("missing", *(str(count) for count in missing)), level=1))
    return Printed("Baseline characteristics", ("", *arms), tuple(lines), _NOTES)


def _known(
    visits: Visits, placements: Sequence[Placement], changes: Sequence[Change], config: TrialConfig
) -> Iterator[tuple[str, Known]]:
    """Name of each characteristic and its value by subject: a text for a group, else a number."""
    marks = {*config.estimands.columns, *(flag.column for flag in config.sets.flags)}
    groups = _GROUPS | {plain(name) for name in (*config.models.factors, *config.models.strata)}
    for column, of in visits.covariates.items():
        if column in marks:
            continue
        texts = {subject: text for subject, text in of.items() if subject in visits.rows}
        numbers = {subject: number_in(text) for subject, text in texts.items()}
        if plain(column) in groups or None in numbers.values():
            yield column, texts
        else:
            yield column, {subject: value for subject, value in numbers.items() if value is not None}
    at_baseline = [c for c in changes if c.is_baseline]
    lung = {c.subject: c.levels["lung_ml"] for c in at_baseline if "lung_ml" in c.levels}
    yield "Lung volume, mL", lung
    for level, unit in (("value_percent", "% of lung"), ("value_ml", "mL")):
        for measure in MEASURES:
            of_measure = [c for c in at_baseline if c.measure == measure and level in c.levels]
            yield f"{TITLES[measure]}, {unit}", {c.subject: c.levels[level] for c in of_measure}
    for extra in (e for e in visits.extras if e.kind != "text"):
        values = values_at(placements, extra.column)
        base = at_visit(values, visits.baseline)
        if base and extra.kind == "yes_no":
            yield extra.column, {subject: "yes" if value else "no" for subject, value in base.items()}
        elif base:
            yield extra.column, base


def _described(blank: Characteristic, values: Sequence[float | str], config: TrialConfig) -> Characteristic:
    names = (blank.characteristic, blank.level, blank.arm, blank.n, blank.missing)
    if blank.level:
        return Characteristic(*names, count=sum(value == blank.level for value in values))
    numbers = np.array([value for value in values if not isinstance(value, str)], float)
    return Characteristic(*names, summary=summarise(numbers, config.statistics.quartiles))


def _share(row: Characteristic) -> str:
    return f"{row.count} ({number(100 * (row.count or 0) / row.n, 1)} %)" if row.n else "0"


def _mean(summary: Summary) -> str:
    if summary.mean is None:
        return ""
    return f"{number(summary.mean)} ({number(summary.sd)})" if summary.sd is not None else number(summary.mean)
