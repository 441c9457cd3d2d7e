"""The primary comparison within subgroups, and whether the arm's effect depends on the subgroup.

Within each level the shift and its interval are computed as in the endpoint table. The interaction is tested by F
in a linear model of the change: arm, subgroup, baseline value, and arm by subgroup. There is one p-value for each
subgroup; those within levels are not given, because they answer another question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from volumetry.storage.csv_tables import Cell, number_in
from volumetry.trial.adjusted import interaction
from volumetry.trial.analysis_config import Subgroup
from volumetry.trial.compare import Comparison, Contrast, by_arm, compare
from volumetry.trial.config import TrialConfig, TrialConfigError
from volumetry.trial.layout import p_value, quartiles, with_interval
from volumetry.trial.models import Seen
from volumetry.trial.printed import Printed, PrintedRow
from volumetry.trial.visits import Visits

COLUMNS = (
    *("subgroup", "level", "measure", "scale", "visit", "arm_a", "arm_b", "n_a", "n_b", "median_a", "median_b"),
    *("shift", "ci_low", "ci_high", "ci_method", "ci_level", "p_interaction", "reason"),
)


@dataclass(frozen=True, slots=True)
class SubgroupRow:
    """The primary comparison in one level of a subgroup; both are empty for everyone.

    Parameters
    ----------
    subgroup, level
        Column, and which of its levels.
    comparison
        Of the arms within the level.
    p_interaction
        Of the subgroup; None where the model cannot be fitted.
    """

    subgroup: str
    level: str
    comparison: Comparison
    p_interaction: float | None = None

    def row(self) -> dict[str, Cell]:
        """The cells of subgroups.csv."""
        cells = self.comparison.row()
        own = {"subgroup": self.subgroup, "level": self.level, "p_interaction": self.p_interaction}
        return {name: cells.get(name) for name in COLUMNS} | own


def subgroup_rows(
    at_visit: Sequence[Seen], primary: Sequence[Comparison], visits: Visits, config: TrialConfig
) -> list[SubgroupRow]:
    """The primary comparison in every level of every subgroup of the settings.

    Parameters
    ----------
    at_visit
        The primary outcome at the primary visit.
    primary
        The primary lines of the endpoint table.
    visits
        From `read_visits`.
    config
        ``[subgroups]``.

    Returns
    -------
    list[SubgroupRow]
        By contrast: everyone, then each subgroup's levels.

    Raises
    ------
    ConfigError
        If the table has no such covariate, or one that is cut does not hold numbers.
    """
    rows: list[SubgroupRow] = []
    for whole in (row for row in primary if row.arm_b is not None) if config.subgroups.columns else ():
        contrast = (whole.arm_a, whole.arm_b)
        rows.append(SubgroupRow("", "", whole))
        for subgroup in config.subgroups.columns:
            level_of, levels = _levels(subgroup, visits)
            known = [one for one in at_visit if one.subject in level_of and one.arm in contrast]
            p = _interaction(known, level_of, levels, contrast)
            for level in levels:
                here = by_arm((one.arm, one.value) for one in known if level_of[one.subject] == level)
                done = compare(contrast, here, config.statistics)
                rows.append(SubgroupRow(subgroup.column, level, _named(done, whole), p))
    return rows


def printed_subgroups(rows: Sequence[SubgroupRow], level: float) -> list[Printed]:
    """The subgroups for print, a table for each contrast."""
    printed = []
    for arms in dict.fromkeys((row.comparison.arm_a, row.comparison.arm_b) for row in rows):
        lines: list[PrintedRow] = []
        group = ""
        for row in (r for r in rows if (r.comparison.arm_a, r.comparison.arm_b) == arms):
            c = row.comparison
            if row.subgroup != group:
                p = p_value(row.p_interaction)
                said = (
                    f"{row.subgroup} (interaction p {p})" if p else f"{row.subgroup} (interaction not estimable)"
                )
                lines.append(PrintedRow((said,), is_heading=True))
                group = row.subgroup
            n_b = str(c.b.n) if c.b else ""
            cells = (str(c.a.n), quartiles(c.a), n_b, quartiles(c.b), with_interval(c.shift, c.interval))
            lines.append(PrintedRow((row.level or "All subjects", *cells), level=1 if group else 0))
        head = ("", f"{arms[0]}: n", "median (Q1, Q3)", f"{arms[1]}: n", "median (Q1, Q3)")
        title = f"Primary endpoint in subgroups: {arms[0]} minus {arms[1]}"
        printed.append(Printed(title, (*head, f"difference ({100 * level:g} % CI)"), tuple(lines)))
    return printed


def _named(done: Comparison, whole: Comparison) -> Comparison:
    return replace(done, measure=whole.measure, scale=whole.scale, visit=whole.visit)


def _levels(subgroup: Subgroup, visits: Visits) -> tuple[Mapping[str, str], list[str]]:
    """Level of every subject for whom it is known, and the levels in their order."""
    if subgroup.column not in visits.covariates:
        raise TrialConfigError(
            f"subgroups: no covariate of the visits table is {subgroup.column!r}",
            hint="Name the column under [columns] covariates too.",
        )
    texts = {s: text for s, text in visits.covariates[subgroup.column].items() if s in visits.rows}
    if not subgroup.cuts:
        return texts, sorted(set(texts.values()))
    numbers = {subject: number_in(text) for subject, text in texts.items()}
    if None in numbers.values():
        raise TrialConfigError(f"subgroups: {subgroup.column!r} does not hold numbers and cannot be cut")
    cuts = sorted(subgroup.cuts)
    names = [
        f"below {cuts[0]:g}",
        *(f"{low:g} to below {high:g}" for low, high in pairwise(cuts)),
    ]
    names.append(f"{cuts[-1]:g} and above")
    places = {s: int(np.searchsorted(cuts, x, side="right")) for s, x in numbers.items() if x is not None}
    return {s: names[place] for s, place in places.items()}, names


def _interaction(
    known: Sequence[Seen], level_of: Mapping[str, str], levels: Sequence[str], contrast: Contrast
) -> float | None:
    if not known:
        return None
    outcome, baseline = (np.array([getattr(one, name) for one in known]) for name in ("value", "baseline"))
    in_a = np.array([float(one.arm == contrast[0]) for one in known])
    groups = np.array([[float(level_of[one.subject] == level) for level in levels[1:]] for one in known])
    found = interaction(outcome, in_a, groups, baseline[:, None])
    return found.p if found else None
